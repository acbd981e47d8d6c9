//! That the types are what the interface says: every field, parameter, method and error is
//! described, every field that is described as always there is there, every choice is the same.

use crate::{
    Cause, CheckResult, ClockState, Difference, ErrorReply, HistoryEntry, INTERFACE,
    INTERFACE_NAME, Made, Part, Stage, State, StatusInfo, What,
    finding::{Level, Subject},
    method::{
        Call, Compare, CompareReply, Doctor, DoctorReply, Done, EndLease, History, HistoryReply,
        Hold, Keep, Lease, Method, Resume, Role, Rollback, Status, StatusReply, Systems,
        SystemsReply, Unblock, Update, Watch,
    },
    next, samples,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use surefoot_core::time::{BootId, Instant};
use zlink::idl::{CustomType, Interface, Type};

struct Types<'a>(BTreeMap<&'a str, &'a CustomType<'a>>);

impl Types<'_> {
    fn judge(&self, what: &str, value: &Value, r#type: &Type<'_>) {
        match r#type {
            Type::Bool => assert!(value.is_boolean(), "{what}"),
            Type::Int => assert!(value.is_i64() || value.is_u64(), "{what}"),
            Type::String => assert!(value.is_string(), "{what}"),
            Type::Optional(inner) => self.judge(what, value, inner.inner()),
            Type::Array(inner) => {
                for entry in value.as_array().unwrap() {
                    self.judge(what, entry, inner.inner());
                }
            }
            Type::Custom(name) => match self.0[name.as_str()] {
                CustomType::Enum(choices) => {
                    let known = choices.variants().any(|v| v.name().as_str() == value);
                    assert!(known, "{what}: {value}");
                }
                CustomType::Object(object) => {
                    let value = value.as_object().unwrap();
                    for field in object.fields() {
                        let name = field.name().as_str();
                        let what = format!("{what}.{name}");
                        match (value.get(name), field.ty()) {
                            (Some(value), r#type) => self.judge(&what, value, r#type),
                            (None, Type::Optional(_)) => {}
                            (None, _) => panic!("{what} is not there"),
                        }
                    }
                    for name in value.keys() {
                        let known = object.fields().any(|f| f.name().as_str() == name);
                        assert!(known, "{what}.{name} is not described");
                    }
                }
            },
            other => panic!("{what}: {other}"),
        }
    }

    /// The choices of an enum, beside those that serde knows.
    fn same_choices<T: serde::de::DeserializeOwned>(&self, name: &str) {
        let CustomType::Enum(choices) = self.0[name] else {
            panic!("{name} is not an enum");
        };
        let described: Vec<String> = choices
            .variants()
            .map(|variant| variant.name().as_str().to_owned())
            .collect();
        // serde names every choice when it meets one that it does not know.
        let error = serde_json::from_str::<T>("\"\"").err().unwrap().to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(described, known, "{name}");
    }
}

/// Every type that the interface describes.
fn types<'a>(interface: &'a Interface<'a>) -> Types<'a> {
    Types(
        interface
            .custom_types()
            .map(|custom| (custom.name().as_str(), custom))
            .collect(),
    )
}

/// A call with everything that can be given along.
fn call(method: Method) -> Call {
    let name = || "gripper".parse().unwrap();
    let why = || "a vase".parse().unwrap();
    match method {
        Method::Status => Call::Status(Status {}),
        Method::Watch => Call::Watch(Watch {}),
        Method::History => Call::History(History { limit: Some(2) }),
        Method::Doctor => Call::Doctor(Doctor {}),
        Method::Systems => Call::Systems(Systems {}),
        Method::Compare => Call::Compare(Compare {
            from: Some("1".parse().unwrap()),
            to: "2".parse().unwrap(),
        }),
        Method::Hold => Call::Hold(Hold {
            why: why(),
            length: Some(Duration::from_secs(60)),
        }),
        Method::Resume => Call::Resume(Resume { made: Some(made()) }),
        Method::Lease => Call::Lease(Lease {
            name: name(),
            busy: true,
            ttl: Some(Duration::from_secs(30)),
            why: Some(why()),
        }),
        Method::EndLease => Call::EndLease(EndLease { name: name() }),
        Method::Update => Call::Update(Update { made: Some(made()) }),
        Method::Keep => Call::Keep(Keep {
            what: "1".parse().unwrap(),
            undo: true,
        }),
        Method::Unblock => Call::Unblock(Unblock {
            what: "1".parse().unwrap(),
            why: why(),
        }),
        Method::Rollback => Call::Rollback(Rollback {
            why: why(),
            to: Some("1".parse().unwrap()),
            force: true,
            made: Some(made()),
        }),
    }
}

fn made() -> Made {
    Made {
        boot: Some(BootId("4c6c1ad2-1b3a-4b1b-8b0a-2f6d5b1f6d3e".into())),
        at: Some(Instant(1000)),
        running: Some(samples::path("1")),
    }
}

/// What a method answers, as JSON.
fn reply(method: Method) -> Value {
    match method {
        Method::Status | Method::Watch => json!(StatusReply {
            status: samples::status(),
        }),
        Method::History => json!(HistoryReply {
            entries: samples::history(),
        }),
        Method::Doctor => json!(DoctorReply {
            findings: samples::findings(),
        }),
        Method::Systems => json!(SystemsReply {
            systems: samples::systems(),
        }),
        Method::Compare => json!(CompareReply {
            difference: samples::difference(),
        }),
        Method::Hold
        | Method::Resume
        | Method::Lease
        | Method::EndLease
        | Method::Update
        | Method::Keep
        | Method::Unblock
        | Method::Rollback => json!(Done {
            message: "as you say".to_owned(),
        }),
    }
}

fn object(value: impl Serialize) -> serde_json::Map<String, Value> {
    match serde_json::to_value(value).unwrap() {
        Value::Object(fields) => fields,
        other => panic!("{other} is not an object"),
    }
}

#[test]
fn the_values_are_what_it_says() {
    let interface = Interface::try_from(INTERFACE).unwrap();
    let types = types(&interface);
    let outputs = |method: &str| {
        let method = interface
            .methods()
            .find(|m| m.name().as_str() == method)
            .unwrap();
        method.outputs().next().unwrap().ty().clone()
    };
    for status in [samples::status(), StatusInfo::default()] {
        types.judge(
            "status",
            &serde_json::to_value(status).unwrap(),
            &outputs("Status"),
        );
    }
    let mut entries = serde_json::to_value(samples::history()).unwrap();
    entries[0] = json!({ "what": "tried", "system": samples::path("1") });
    types.judge("entries", &entries, &outputs("History"));
    assert!(serde_json::from_value::<HistoryEntry>(entries[0].clone()).is_ok());

    types.judge(
        "findings",
        &serde_json::to_value(samples::findings()).unwrap(),
        &outputs("Doctor"),
    );

    for system in samples::systems() {
        let least = json!({ "system": system.system, "generations": [], "parts": [], "proven": false,
            "agent": false, "differs": "", "reboot": [] });
        for systems in [json!([system]), json!([least])] {
            types.judge("systems", &systems, &outputs("Systems"));
        }
    }
    for difference in [samples::difference(), Difference::default()] {
        types.judge("difference", &json!(difference), &outputs("Compare"));
    }

    types.same_choices::<Part>("Part");
    types.same_choices::<Level>("Level");
    types.same_choices::<Subject>("Subject");
    types.same_choices::<State>("State");
    types.same_choices::<Cause>("Cause");
    types.same_choices::<What>("What");
    types.same_choices::<CheckResult>("CheckResult");
    types.same_choices::<ClockState>("ClockState");
    types.same_choices::<Stage>("Stage");
}

#[test]
fn the_methods_are_those_that_it_describes() {
    let interface = Interface::try_from(INTERFACE).unwrap();
    assert_eq!(interface.name().as_str(), INTERFACE_NAME);
    let types = types(&interface);
    let mut described: Vec<&str> = interface.methods().map(|m| m.name().as_str()).collect();
    let mut known: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    described.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, described);

    for method in Method::ALL {
        let name = method.name();
        let described = interface
            .methods()
            .find(|m| m.name().as_str() == name)
            .unwrap();

        // Every parameter is described, has the described type, and is read again.
        let given = object(call(*method));
        let inputs: BTreeMap<&str, &Type<'_>> = described
            .inputs()
            .map(|input| (input.name().as_str(), input.ty()))
            .collect();
        let names: Vec<&str> = given.keys().map(String::as_str).collect();
        assert_eq!(names, inputs.keys().copied().collect::<Vec<_>>(), "{name}");
        for (input, r#type) in &inputs {
            types.judge(&format!("{name}({input})"), &given[*input], r#type);
        }
        assert_eq!(method.read(given.clone()).unwrap(), call(*method), "{name}");

        // What may be left out may be, as well as null; what may not, may not.
        for (input, r#type) in &inputs {
            let optional = matches!(r#type, Type::Optional(_));
            let mut without = given.clone();
            without.remove(*input);
            assert_eq!(method.read(without).is_ok(), optional, "{name}({input})");
            let mut null = given.clone();
            null.insert((*input).to_owned(), Value::Null);
            assert_eq!(method.read(null).is_ok(), optional, "{name}({input})");
        }
        let mut more = given.clone();
        more.insert("zeal".to_owned(), json!(1));
        let refused = ErrorReply::InvalidParameter {
            parameter: "zeal".to_owned(),
            why: "there is no such parameter".to_owned(),
        };
        assert_eq!(method.read(more), Err(refused), "{name}");

        let answered = reply(*method);
        let outputs: Vec<&str> = described.outputs().map(|o| o.name().as_str()).collect();
        let names: Vec<&str> = answered
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, outputs, "{name}");
        for output in described.outputs() {
            let what = output.name().as_str();
            types.judge(&format!("{name} -> {what}"), &answered[what], output.ty());
        }
    }
}

/// Who may do what is written once more for people: there it is what was meant.
#[test]
fn each_method_is_for_those_that_the_documentation_says() {
    let page = include_str!("../../../docs/src/control-socket.md");
    let documented = |method: &str| {
        let start = format!("| `{method}(");
        let line = page.lines().find(|line| line.starts_with(&start)).unwrap();
        line.split(" | ").nth(1).unwrap()
    };
    for method in Method::ALL {
        let role = match method.least_role() {
            Role::Anyone => "anyone",
            Role::App => "app",
            Role::Technician => "technician",
            Role::Root => "root",
        };
        assert_eq!(role, documented(method.name()), "{}", method.name());
    }
}

#[test]
fn the_errors_are_those_that_it_describes() {
    let interface = Interface::try_from(INTERFACE).unwrap();
    let types = types(&interface);
    let text = || "why".to_owned();
    let known = [
        ErrorReply::NotAuthorized { needs: text() },
        ErrorReply::Refused { why: text() },
        ErrorReply::NothingToDo { why: text() },
        ErrorReply::Failed { why: text() },
    ];
    assert_eq!(interface.errors().count(), known.len());
    for (described, known) in interface.errors().zip(known) {
        let said = serde_json::to_value(&known).unwrap();
        let name = format!("{INTERFACE_NAME}.{}", described.name().as_str());
        assert_eq!(said["error"], json!(name));
        let parameters = said["parameters"].as_object().unwrap();
        assert_eq!(parameters.len(), described.fields().count(), "{name}");
        for field in described.fields() {
            let what = field.name().as_str();
            types.judge(&format!("{name}.{what}"), &parameters[what], field.ty());
        }
        assert_eq!(serde_json::from_value::<ErrorReply>(said).unwrap(), known);
    }
}

/// An answer of an earlier version, or of a made-up next one, as this version reads it and hands it on.
fn handed_on<T: Serialize + serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<String> {
    let read: T = serde_json::from_str(text)?;
    Ok(serde_json::to_string_pretty(&read)? + "\n")
}

#[test]
fn recorded_answers_are_read_and_unknown_words_of_a_later_version_are_handed_on() {
    type HandedOn = fn(&str) -> serde_json::Result<String>;
    let answers: [(&str, &str, HandedOn); 3] = [
        (
            "status",
            include_str!("../../../tests/recorded/0.2/status.json"),
            handed_on::<StatusReply>,
        ),
        (
            "history",
            include_str!("../../../tests/recorded/0.2/history.json"),
            handed_on::<HistoryReply>,
        ),
        (
            "findings",
            include_str!("../../../tests/recorded/0.2/findings.json"),
            handed_on::<DoctorReply>,
        ),
    ];
    let words = [
        "state", "cause", "stage", "result", "clock", "subject", "level",
    ];
    for (name, recorded, handed_on) in answers {
        assert_eq!(handed_on(recorded).unwrap(), recorded, "{name}");
        let text: Value = serde_json::from_str(recorded).unwrap();
        // `what` is a word of the history, and a sentence elsewhere.
        let words = words
            .iter()
            .copied()
            .chain((name == "history").then_some("what"));
        for (at, next) in next::versions(&text, &words.collect::<Vec<_>>()) {
            let again = handed_on(&next.to_string()).unwrap();
            let again: Value = serde_json::from_str(&again).unwrap();
            // A word stands where it stood; of what else there is, nothing is lost by a field more.
            let words = next.pointer(&at) == Some(&json!("quiteNew"));
            assert_eq!(again, if words { next } else { text.clone() }, "{name}{at}");
        }
    }
}

#[test]
fn errors_go_out_as_they_always_did() {
    let said = |error: ErrorReply| serde_json::to_string(&error).unwrap();
    assert_eq!(
        said(ErrorReply::InvalidParameter {
            parameter: "why".to_owned(),
            why: "it must be a string".to_owned(),
        }),
        r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"why","why":"it must be a string"}}"#
    );
    assert_eq!(
        said(ErrorReply::ExpectedMore {}),
        r#"{"error":"org.varlink.service.ExpectedMore","parameters":{}}"#
    );
}
