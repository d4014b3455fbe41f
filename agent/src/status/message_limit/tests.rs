use super::*;

fn ended(message: &str) -> Option<api::ContainerState> {
    Some(api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            message: Some(message.to_owned()),
            ..api::ContainerStateTerminated::default()
        }),
        ..api::ContainerState::default()
    })
}

fn message(state: Option<&api::ContainerState>) -> &str {
    state.unwrap().terminated.as_ref().unwrap().message.as_deref().unwrap()
}

#[test]
fn containers_share_the_room_evenly() {
    for (count, share) in [(1, ROOM), (2, ROOM / 2), (5, 2457)] {
        let long = "x".repeat(ROOM + 1);
        let status = api::ContainerStatus {
            state: ended(&long),
            last_state: ended("short"),
            ..api::ContainerStatus::default()
        };
        let mut statuses = Statuses { regular: vec![status; count], ..Statuses::default() };
        limit_messages(&mut statuses);
        for status in &statuses.regular {
            assert_eq!(message(status.state.as_ref()).len(), share);
            assert_eq!(message(status.last_state.as_ref()), "short");
        }
    }
}

#[test]
fn no_character_is_cut_apart() {
    let status = api::ContainerStatus {
        last_state: ended(&"é".repeat(ROOM)),
        ..api::ContainerStatus::default()
    };
    let mut statuses = Statuses { init: vec![status; 5], ..Statuses::default() };
    limit_messages(&mut statuses);
    assert_eq!(message(statuses.init[0].last_state.as_ref()), "é".repeat(1228));
}
