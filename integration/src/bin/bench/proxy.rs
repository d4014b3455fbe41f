//! How long rules take, and what a proxy costs: noded's proxy and kube-proxy, one after the other
//! on the same objects of one cluster, each alone in a network namespace of its own.

mod fixture;
mod options;
mod probe;
mod render;
mod rules;
mod subject;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use integration::console::print;
use integration::isolation::Run;
use integration::proxy_host::{ProxyKind, silent_node};
use integration::real_cluster::Cluster;

use fixture::Fixture;
use options::{Mode, Options, Shape};
use render::{BaselineRow, EmptyMemory, Row, render};
use subject::{Figures, Subject};

/// The Node that all proxies stand for.
const NODE: &str = "bench";
/// Address of the outsider, behind whom all endpoints are.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 250);

/// Measures what the arguments ask for and prints the tables.
pub async fn run(run: &Run, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    print("bench: starting the control plane\n");
    let cluster = Cluster::start(run).await?;
    cluster.create(&silent_node(NODE, &["172.30.0.200"], &["10.244.77.0/24"])).await?;
    probe::serve(cluster.network().outside())?;
    let mut bench = Bench {
        fixture: Fixture::new(&cluster).await?,
        cluster,
        rows: Vec::new(),
        baselines: Vec::new(),
        empty: EmptyMemory::new(),
    };
    bench.measure_empty(&options).await;
    for shape in &options.shapes {
        let began = Instant::now();
        bench.fixture.become_shape(*shape).await?;
        print(&format!("bench: made {} in {:.0?}\n", shape.name(), began.elapsed()));
        for mode in &options.modes {
            for kind in &options.kinds {
                bench.measure(*shape, *mode, *kind, &options).await?;
            }
        }
    }
    print(&render(&bench.rows, &bench.empty, &bench.baselines));
    Ok(())
}

struct Bench {
    cluster: Arc<Cluster>,
    fixture: Fixture,
    rows: Vec<Row>,
    baselines: Vec<BaselineRow>,
    empty: EmptyMemory,
}

impl Bench {
    /// Takes the memory of each proxy before there are Services.
    async fn measure_empty(&mut self, options: &Options) {
        for mode in &options.modes {
            for kind in &options.kinds {
                let subject = Subject::prepare(&self.cluster, *kind, *mode, Shape::Services(0));
                let memory = match &subject {
                    Ok(subject) => subject.empty_memory().await,
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                };
                match memory {
                    Ok(memory) => drop(self.empty.insert((*mode, *kind), memory)),
                    Err(error) => print(&format!("bench: {} empty: {error:#}\n", kind.name())),
                }
            }
        }
    }

    /// Measures one proxy. Its failure is a row of the table; that of the fixture an error.
    async fn measure(
        &mut self,
        shape: Shape,
        mode: Mode,
        kind: ProxyKind,
        options: &Options,
    ) -> Result<()> {
        let subject = Subject::prepare(&self.cluster, kind, mode, shape)?;
        let measured = subject.measure(&mut self.fixture, options.idle).await;
        let outcome: Result<Figures, String> = measured.map_err(|error| {
            print(&format!("bench: FAILED: {error:#}\n{}\n", subject.host().tail(20)));
            format!("{error:#}").chars().take(200).collect()
        });
        if outcome.is_ok()
            && options.baselines
            && let Err(error) = self.time_tools(&subject, shape, mode, kind).await
        {
            print(&format!("bench: tools FAILED: {error:#}\n"));
        }
        subject.host().kill().await?;
        self.fixture.remove_added().await?;
        self.rows.push(Row { shape, mode, kind, outcome });
        Ok(())
    }

    async fn time_tools(
        &mut self,
        subject: &Subject,
        shape: Shape,
        mode: Mode,
        whose: ProxyKind,
    ) -> Result<()> {
        let text = rules::dump(subject.host(), mode).await?;
        for timed in rules::baselines(mode, &text, self.cluster.run().directory()).await? {
            let seconds = timed.took.as_secs_f64();
            print(&format!("bench: {}: {seconds:.2} s\n", timed.what));
            self.baselines.push(BaselineRow { shape, whose, what: timed.what, seconds });
        }
        Ok(())
    }
}
