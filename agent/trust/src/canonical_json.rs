//! JSON as metadata needs it: read strictly, written canonically.
//!
//! Signatures cover the canonical form (OLPC canonical JSON, as securesystemslib writes it), not
//! the bytes of the file. So a text that two readers could understand differently is refused here:
//! a key that stands twice in an object, and numbers that are not integers.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// A list or an object for so many bytes, and [`SPARE`] beyond that: honest metadata has fewer. In
/// memory an object of seven bytes takes a hundred times as much.
const DENSITY: usize = 20;
const SPARE: usize = 1000;

/// Reads one JSON value. Nesting is limited to 128 levels, lists and objects to one for every 20
/// bytes.
///
/// # Errors
/// Anything that is not JSON, too many lists and objects, a key that stands twice, a fraction, an integer beyond 64 bits, a
/// lone surrogate, bytes after the value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    // Those within texts count too; that is more than honest texts have.
    let open = bytes.iter().filter(|b| matches!(b, b'{' | b'[')).count();
    if open > SPARE + bytes.len() / DENSITY {
        return Err(de::Error::custom("it has too many lists and objects"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let Strict(value) = Strict::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// The canonical form: keys sorted by code point, no white space, only `"` and `\` escaped.
#[must_use]
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Bytes of UTF-8 sort as code points do.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(&map[key], out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A value that was read by the strict rules.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!(
            "the number {value} is not an integer of at most 64 bits"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Strict(value) = entries.next_value()?;
            if map.contains_key(&key) {
                let key: String = key.chars().take(100).collect();
                return Err(de::Error::custom(format!(
                    "the key '{}' stands twice in one object",
                    key.escape_debug()
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_canonical_form_is_that_of_securesystemslib() {
        let value = parse(
            r#" { "b" : [ 1, -2, true, null ], "a" : "tab\t \"quoted\" \\ \u00e4", "": {} } "#
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(canonical(&value)).unwrap(),
            "{\"\":{},\"a\":\"tab\t \\\"quoted\\\" \\\\ ä\",\"b\":[1,-2,true,null]}"
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, word) in [
            (r#"{"a":1,"a":1}"#, "twice"),
            (r#"{"x":{"a":1,"\u0061":2}}"#, "twice"),
            ("1.5", "not an integer"),
            ("1e3", "not an integer"),
            ("-0", "not an integer"),
            ("18446744073709551616", "not an integer"),
            (r#""\ud800""#, "hex escape"),
            ("{} {}", "trailing"),
            ("", "EOF"),
            ("\u{feff}{}", "expected value"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let dense = parse("[],".repeat(2_000).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(dense.contains("too many lists and objects"), "{dense}");
        let deep = "[".repeat(900);
        assert!(
            parse(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("recursion limit")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn the_canonical_form_says_the_same(text in "\\PC{0,20}", number: i64, flag: bool) {
            let mut map = Map::new();
            map.insert(text.clone(), Value::from(vec![Value::from(number), flag.into()]));
            map.insert(format!("{text}x"), text.into());
            let value = Value::Object(map);
            prop_assert_eq!(parse(&canonical(&value)).unwrap(), value);
        }
    }
}
