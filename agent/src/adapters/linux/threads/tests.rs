use std::fs;

use super::*;

#[test]
fn threads_are_read_from_what_the_kernel_shows() {
    let dir = tempfile::tempdir().unwrap();
    for (id, name) in [(12, "b (x)"), (7, "noded")] {
        let task = dir.path().join(format!("task/{id}"));
        fs::create_dir_all(&task).unwrap();
        let stat =
            format!("{id} ({name}) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 4 0 1 2\n");
        fs::write(task.join("stat"), stat).unwrap();
    }
    fs::create_dir_all(dir.path().join("task/99")).unwrap();
    let threads =
        Threads { proc: dir.path().to_owned(), tick: Duration::from_millis(10) }.list().unwrap();
    let expected = |id, name: &str| Thread {
        id,
        name: name.to_owned(),
        user: Duration::from_millis(1500),
        system: Duration::from_millis(500),
    };
    assert_eq!(threads, [expected(7, "noded"), expected(12, "b (x)")]);
}

#[test]
fn this_program_has_threads_and_a_command_line() {
    let threads = Threads::default();
    assert!(!threads.list().unwrap().is_empty());
    assert!(!threads.command_line().unwrap().is_empty());
}
