use super::{ConnStates, Probability};

#[test]
fn probability_prints_as_the_kernel_does() {
    let cases = [
        (1, "1.00000000000"),
        (2, "0.50000000000"),
        (3, "0.33333333349"),
        (4, "0.25000000000"),
        (5, "0.20000000019"),
        (6, "0.16666666651"),
        (10, "0.10000000009"),
    ];
    for (choices, text) in cases {
        assert_eq!(Probability::one_of(choices).to_string(), text, "one of {choices}");
    }
}

#[test]
fn probability_survives_its_text_and_never_shrinks_as_choices_fall() {
    let mut previous = None;
    for choices in (2..=100_000).rev() {
        let probability = Probability::one_of(choices);
        let read = Probability::from_share(probability.to_string().parse().unwrap());
        assert_eq!(read, probability, "one of {choices}");
        assert!(previous.is_none_or(|smaller| smaller <= probability), "one of {choices}");
        previous = Some(probability);
    }
}

#[test]
fn connection_states_print_in_the_order_of_iptables() {
    let states = ConnStates::DNAT.or(ConnStates::ESTABLISHED).or(ConnStates::RELATED);
    assert_eq!(states.to_string(), "RELATED,ESTABLISHED,DNAT");
    assert_eq!(ConnStates::from_name("NEW"), Some(ConnStates::NEW));
    assert_eq!(ConnStates::from_name("OLD"), None);
}
