//! Runs the end-to-end tests of one binary: picks, runs, reports as libtest does, cleans up.
//!
//! Arguments: any number of filters (parts of test names), `--exact`, `--list`, `--skip PART`,
//! `--test-threads N`. Other libtest flags are accepted and change nothing.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::StreamExt;
use futures::stream;

use crate::console::print;
use crate::context::{Shared, TestContext};
use crate::isolation::{self, Run};

/// A test that runs longer has failed.
const TEST_LIMIT: Duration = Duration::from_secs(300);
/// Cleaning up after a test takes seconds; a hang must not hide the other results.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(90);
/// Tests at a time unless told. Most of a test is waiting for back-offs and graces, so two cores
/// carry several.
const DEFAULT_THREADS: usize = 5;

/// What a test function returns.
pub type TestFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Whether a test minds others at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// It keeps to its own nodes and namespaces.
    Shared,
    /// It disturbs or measures what all share, such as the API server.
    Alone,
}

/// A test and its name.
#[derive(Clone, Copy)]
pub struct Test {
    /// Module and function, as libtest names them.
    pub name: &'static str,
    /// Whether others may run at the same time.
    pub company: Company,
    /// Starts the test.
    pub start: fn(Arc<TestContext>) -> TestFuture,
}

/// Lists async functions of this module as tests: `tests![pod_runs, pod_ends]` is a
/// `Vec<Test>`; `tests![pod_runs; alone: api_server_restarts]` has some that run by themselves
/// after the others. Each takes an `Arc<TestContext>` and returns `anyhow::Result<()>`.
#[macro_export]
macro_rules! tests {
    ($($function:ident),* $(,)? $(; alone: $($lonely:ident),* $(,)?)?) => {
        vec![
            $($crate::tests!(@test Shared $function),)*
            $($($crate::tests!(@test Alone $lonely),)*)?
        ]
    };
    (@test $company:ident $function:ident) => {
        $crate::runner::Test {
            name: concat!(module_path!(), "::", stringify!($function)),
            company: $crate::runner::Company::$company,
            start: |context| Box::pin($function(context)),
        }
    };
}

#[derive(Debug, Default)]
struct Arguments {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    threads: Option<usize>,
}

impl Arguments {
    fn parse(args: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self::default();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let (name, mut value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            match name.as_str() {
                "--exact" => parsed.exact = true,
                "--list" => parsed.list = true,
                "--skip" => parsed.skipped.extend(value.take().or_else(|| args.next())),
                "--test-threads" => {
                    let number = value.take().or_else(|| args.next());
                    parsed.threads = number.and_then(|number| number.parse().ok());
                }
                "--format" | "--color" | "--logfile" if value.is_none() => {
                    args.next();
                }
                other if other.starts_with('-') => {}
                other => parsed.filters.push(other.to_owned()),
            }
        }
        parsed
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |part: &String| if self.exact { name == part } else { name.contains(part) };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(matches)
    }
}

/// Runs the tests that the command line picks, in an isolated run with one shared control plane.
/// To be called first in `main`; the code says whether all passed.
pub fn run(tests: Vec<Test>) -> ExitCode {
    run_within(tests, TEST_LIMIT)
}

/// [`run`] with another limit for each test.
pub fn run_within(tests: Vec<Test>, limit: Duration) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let total = tests.len();
    let mut picked: Vec<Test> =
        tests.into_iter().filter(|test| arguments.wants(short(test.name))).collect();
    picked.sort_by_key(|test| test.name);
    if arguments.list {
        for test in &picked {
            print(&format!("{}: test\n", short(test.name)));
        }
        return ExitCode::SUCCESS;
    }
    let threads = arguments.threads.unwrap_or(DEFAULT_THREADS).max(1);
    if picked.is_empty() && std::env::var_os(isolation::variable::ROLE).is_none() {
        print("\nrunning 0 tests\n");
        report(0, &[], total, Instant::now());
        return ExitCode::SUCCESS;
    }
    isolation::isolate(|run| run_picked(run, &picked, total, (threads, limit)))
}

/// A test's name without the name of the binary, which libtest leaves out too.
fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

fn run_picked(
    run: Run,
    tests: &[Test],
    total: usize,
    (threads, limit): (usize, Duration),
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let started = Instant::now();
    let plural = if tests.len() == 1 { "" } else { "s" };
    print(&format!("\nrunning {} test{plural}\n", tests.len()));
    let shared = Arc::new(Shared::new(run));
    let (sociable, lonely): (Vec<&Test>, Vec<&Test>) =
        tests.iter().partition(|test| test.company == Company::Shared);
    let failures = runtime.block_on(async {
        let mut failures = run_all(&sociable, &shared, (threads, limit)).await;
        failures.extend(run_all(&lonely, &shared, (1, limit)).await);
        failures
    });
    let passed = tests.len() - failures.len();
    let names: Vec<&str> = failures.iter().map(|(name, _)| *name).collect();
    if !failures.is_empty() {
        print("\nfailures:\n");
        for (name, error) in &failures {
            print(&format!("\n---- {name} ----\n{error:#}\n"));
        }
    }
    report(passed, &names, total - tests.len(), started);
    // Whatever still runs ends with this process's namespaces.
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs tests, some at a time, and returns the failed ones with their errors.
async fn run_all(
    tests: &[&Test],
    shared: &Arc<Shared>,
    (threads, limit): (usize, Duration),
) -> Vec<(&'static str, anyhow::Error)> {
    stream::iter(tests)
        .map(|test| run_one(test, Arc::clone(shared), limit))
        .buffer_unordered(threads)
        .filter_map(|failure| async { failure })
        .collect()
        .await
}

async fn run_one(
    test: &Test,
    shared: Arc<Shared>,
    limit: Duration,
) -> Option<(&'static str, anyhow::Error)> {
    let name = short(test.name);
    let context = Arc::new(TestContext::new(name, shared));
    let began = Instant::now();
    // A task of its own, so that a panic is an outcome like any other.
    let task = tokio::spawn(tokio::time::timeout(limit, (test.start)(Arc::clone(&context))));
    let mut outcome = match task.await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow!("the test took longer than {limit:?}")),
        Err(panic) => Err(anyhow!("{panic}")),
    };
    let took = began.elapsed();
    let cleaning = context.clean_up(outcome.is_err());
    let cleaned = tokio::time::timeout(CLEAN_UP_LIMIT, cleaning).await;
    if outcome.is_ok() {
        outcome = cleaned.unwrap_or_else(|_| Err(anyhow!("cleaning up hung")));
    }
    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
    print(&format!("test {name} ... {word} <{:.3}s>\n", took.as_secs_f64()));
    outcome.err().map(|error| (name, error))
}

fn report(passed: usize, failed: &[&str], filtered: usize, started: Instant) {
    if !failed.is_empty() {
        print(&format!("\nfailures:\n    {}\n", failed.join("\n    ")));
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    print(&format!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; \
         {filtered} filtered out; finished in {:.2}s\n\n",
        failed.len(),
        started.elapsed().as_secs_f64()
    ));
}

#[cfg(test)]
mod tests;
