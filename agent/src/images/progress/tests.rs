use super::*;

fn layer(digest: &str, size_bytes: u64) -> Layer {
    Layer { digest: digest.to_owned(), size_bytes }
}

fn ingest(name: &str, done_bytes: u64, total_bytes: u64) -> Ingest {
    Ingest { name: name.to_owned(), done_bytes, total_bytes }
}

#[test]
fn texts_tell_stage_percent_and_bytes() {
    let mib = 1024 * 1024;
    for (progress, text) in [
        (PullProgress::Queued, "waiting for other image pulls"),
        (PullProgress::Running, "in progress"),
        (
            PullProgress::Downloading { done_bytes: 3 * mib / 2, total_bytes: Some(3 * mib) },
            "downloading, 50% (1.5 MiB of 3.0 MiB)",
        ),
        (
            PullProgress::Downloading { done_bytes: 1023, total_bytes: None },
            "downloading (1023 B so far)",
        ),
        (
            PullProgress::Downloading { done_bytes: 0, total_bytes: Some(0) },
            "downloading, 0% (0 B of 0 B)",
        ),
        (PullProgress::Unpacking { total_bytes: 2048 * mib }, "unpacking (2.0 GiB downloaded)"),
    ] {
        assert_eq!(progress.to_string(), text);
    }
    assert_eq!(
        progress_message("a:1", PullProgress::Queued),
        "Pulling image \"a:1\": waiting for other image pulls"
    );
}

#[test]
fn download_ends_when_every_layer_is_whole() {
    let layers = [layer("sha256:a", 100), layer("sha256:b", 300)];
    let downloading = |done_bytes| PullProgress::Downloading { done_bytes, total_bytes: Some(400) };
    let half = [ingest("layer-sha256:b", 150, 300)];
    for (ingests, whole, expected) in [
        (&half[..], [true, false], downloading(250)),
        (&half[..], [false, false], downloading(150)),
        (&[][..], [true, false], downloading(100)),
        (&[][..], [true, true], PullProgress::Unpacking { total_bytes: 400 }),
    ] {
        assert_eq!(of_layers(&layers, ingests, &whole), expected, "{ingests:?} {whole:?}");
    }
    assert_eq!(of_ingests(&[]), PullProgress::Running);
    assert_eq!(of_ingests(&half), PullProgress::Downloading { done_bytes: 150, total_bytes: None });
}

#[test]
fn image_is_known_by_a_layer_in_work() {
    let manifests = vec![vec![layer("sha256:a", 1)], vec![layer("sha256:b", 1)]];
    let found = |name| layers_in_work(manifests.clone(), &[ingest(name, 0, 0)]);
    assert_eq!(found("layer-sha256:b"), Some(manifests[1].clone()));
    assert_eq!(found("layer-sha256:c"), None);
}

#[test]
fn events_are_few() {
    let mut pace = EventPace::default();
    let seconds = Duration::from_secs;
    let told: Vec<u64> = (1..=360)
        .map(|tick| tick * 10)
        .filter(|at| {
            let progress = match at {
                3300.. => PullProgress::Unpacking { total_bytes: 3300 },
                _ => PullProgress::Downloading { done_bytes: *at, total_bytes: Some(3300) },
            };
            pace.take(seconds(*at), progress)
        })
        .collect();
    assert_eq!(told, [30, 660, 1320, 1980, 2640, 3300]);
}
