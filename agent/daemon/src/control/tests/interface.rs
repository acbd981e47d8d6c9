//! That the values are what the interface says: every field is described, every field that is
//! described as always there is there, every choice is the same.

use super::*;
use std::collections::BTreeMap;
use surefoot_api::INTERFACE;
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
            panic!("{name} is no enum");
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

#[test]
fn the_values_are_what_it_says() {
    let interface = Interface::try_from(INTERFACE).unwrap();
    let types = Types(
        interface
            .custom_types()
            .map(|custom| (custom.name().as_str(), custom))
            .collect(),
    );
    let outputs = |method: &str| {
        let method = interface
            .methods()
            .find(|m| m.name().as_str() == method)
            .unwrap();
        method.outputs().next().unwrap().ty().clone()
    };
    for status in [full(), StatusInfo::default()] {
        types.judge(
            "status",
            &serde_json::to_value(status).unwrap(),
            &outputs("Status"),
        );
    }
    let mut entries = serde_json::to_value(&*history()).unwrap();
    entries[0] = json!({ "what": "tried", "system": path("1") });
    types.judge("entries", &entries, &outputs("History"));
    assert!(serde_json::from_value::<HistoryEntry>(entries[0].clone()).is_ok());

    types.judge(
        "findings",
        &serde_json::to_value(findings()).unwrap(),
        &outputs("Doctor"),
    );

    types.same_choices::<surefoot_api::finding::Level>("Level");
    types.same_choices::<Subject>("Subject");
    types.same_choices::<State>("State");
    types.same_choices::<Cause>("Cause");
    types.same_choices::<What>("What");
    types.same_choices::<CheckResult>("CheckResult");
}
