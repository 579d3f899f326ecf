//! Conditions put together.

use super::*;

fn only(words: &[&str]) -> Only {
    Only::read("only", words).unwrap()
}

fn undetermined(decision: Decision, state: State) -> Flow {
    let mut flow = denied();
    flow.class = Class::Undetermined;
    flow.verdict.decision = decision;
    flow.outcome.state = state;
    flow
}

fn of_class(class: Class) -> Flow {
    Flow { class, ..denied() }
}

#[test]
fn denials_are_all_that_was_denied_or_may_have_been() {
    let selection = Selection { only: only(&["denials"]), ..Selection::default() };
    for class in Class::ALL {
        let expected = match class {
            Class::PolicyNotEnforced
            | Class::DeniedAttempt
            | Class::BlockedThoughAllowed
            | Class::BlockedUnexplained
            | Class::Undetermined => true,
            Class::Unrestricted | Class::Refused | Class::Failed | Class::Allowed => false,
        };
        assert_eq!(selection.wants(&of_class(class)), expected, "{class:?}");
    }
    for (decision, state, expected) in [
        (Decision::Unknown, State::Dropped, true),
        (Decision::Unknown, State::Sent, true),
        (Decision::Mixed, State::Pending, true),
        (Decision::Unknown, State::Established, false),
        (Decision::Mixed, State::Answered, false),
        (Decision::Unknown, State::Received, false),
        // It was open before the agent was there.
        (Decision::Deny, State::Established, true),
    ] {
        assert_eq!(selection.wants(&undetermined(decision, state)), expected, "{decision:?} {state:?}");
    }
    assert!(selection.wants(&finding(FindingId::FL201, Some("x"), of_class(Class::Allowed))));
}

#[test]
fn classes_alone_are_no_findings() {
    let found = finding(FindingId::FL101, Some("x"), denied());
    for (words, flow, findings) in [
        (&["denied_attempt"][..], true, false),
        (&["denied_attempt", "findings"], true, true),
        (&["findings"], false, true),
        (&["allowed", "refused"], false, false),
        (&["all"], true, true),
    ] {
        let selection = Selection { only: only(words), ..Selection::default() };
        assert_eq!(selection.wants(&denied()), flow, "{words:?}");
        assert_eq!(selection.wants(&found), findings, "{words:?}");
    }
}

#[test]
fn one_of_allow_and_none_of_deny_holds_and_what_is_not_known_is_written() {
    let read = |all: &[Written<'_>]| -> Vec<Condition> {
        all.iter().map(|written| condition(written).unwrap()).collect()
    };
    let denied = denied();
    let unknown = Flow { source: unknown(None), ..denied.clone() };
    let found = finding(FindingId::FL101, Some("x"), denied.clone());
    type Row<'a> = (&'a str, &'a [Written<'a>], &'a [Written<'a>], [bool; 3]);
    let rows: &[Row<'_>] = &[
        ("nothing is said", &[], &[], [true, true, true]),
        ("allowed", &[&[("namespace", "shop")]], &[], [true, true, true]),
        ("one of two", &[&[("namespace", "dev")], &[("port", "5432")]], &[], [true, true, true]),
        ("not allowed, or not known", &[&[("source.namespace", "dev")]], &[], [false, true, false]),
        ("denied, or not known", &[], &[&[("source.namespace", "shop")]], [false, true, false]),
        ("one of two denied", &[], &[&[("port", "1")], &[("port", "5432")]], [false, false, false]),
        ("neither denied", &[], &[&[("port", "1")], &[("port", "2")]], [true, true, true]),
        ("deny beats allow", &[&[("namespace", "data")]], &[&[("port", "5432")]], [false, false, false]),
        ("of a class a finding is not", &[], &[&[("class", "denied_attempt")]], [false, false, true]),
        ("nor not of it", &[&[("class", "allowed")]], &[], [false, false, true]),
        ("findings are", &[], &[&[("kind", "finding")]], [true, true, false]),
        (
            "flows of a class are",
            &[&[("kind", "flow"), ("class", "denied_attempt")]],
            &[],
            [true, true, false],
        ),
        ("what is not known can be left out", &[], &[&[("source.kind", "unknown")]], [true, false, true]),
    ];
    for (name, allow, deny, expected) in rows {
        let selection = Selection { only: Only::All, allow: read(allow), deny: read(deny) };
        let got = [selection.wants(&denied), selection.wants(&unknown), selection.wants(&found)];
        assert_eq!(got, *expected, "{name}");
        assert_eq!(selection.is_everything(), allow.is_empty() && deny.is_empty());
    }
    let both =
        Selection { only: only(&["allowed"]), allow: read(&[&[("namespace", "shop")]]), deny: Vec::new() };
    assert!(!both.wants(&denied));
}
