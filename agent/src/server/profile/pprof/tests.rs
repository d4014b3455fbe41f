use super::*;
use crate::testing::build::at;

fn thread(id: u64, name: &str, user: u64, system: u64) -> Thread {
    let time = Duration::from_millis;
    Thread { id, name: name.to_owned(), user: time(user), system: time(system) }
}

#[test]
fn a_profile_holds_what_was_used_between_two_looks_by_name() {
    let before = [thread(1, "noded", 100, 50), thread(2, "noded", 10, 10), thread(3, "gone", 9, 9)];
    let after = [thread(1, "noded", 130, 50), thread(2, "noded", 15, 20), thread(4, "new", 0, 7)];
    let bytes = profile(&before, &after, at(0), Duration::from_secs(5));
    let read = Profile::decode(bytes.as_slice()).unwrap();
    let text = |at: i64| read.string_table[usize::try_from(at).unwrap()].as_str();
    let name = |id: &u64| {
        let location = read.location.iter().find(|location| location.id == *id).unwrap();
        let function = location.line[0].function_id;
        text(read.function.iter().find(|known| known.id == function).unwrap().name)
    };
    let samples: Vec<_> = read
        .sample
        .iter()
        .map(|sample| {
            let stack: Vec<_> = sample.location_id.iter().map(name).collect();
            (stack.join(" < "), sample.value.clone())
        })
        .collect();
    let expected =
        [("system < new", 7_000_000), ("user < noded", 35_000_000), ("system < noded", 10_000_000)];
    assert_eq!(samples, expected.map(|(stack, value)| (stack.to_owned(), vec![value])));
    assert_eq!(text(read.sample_type[0].kind), "cpu");
    assert_eq!(text(read.sample_type[0].unit), "nanoseconds");
    assert_eq!(read.duration_nanos, 5_000_000_000);
}

#[test]
fn threads_are_listed_with_all_they_have_used() {
    let listed = listed(&[thread(7, "noded", 1500, 20)]);
    assert_eq!(listed, "threads: 1\n7 noded user 1.50s system 0.02s\n");
}
