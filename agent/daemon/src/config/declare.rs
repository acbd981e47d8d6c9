//! How settings are declared: one declaration gives the typed struct, the reading of it, the
//! errors and the reference.

use super::{
    problem::{Place, Problem, What},
    values::{Setting, describe},
};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// A table of the configuration: the top, `[poll]`, or one entry of `[[health.command]]`.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name with the tables around it: `health.command`; empty for the top.
    pub(crate) path: &'static str,
    /// Whether it may stand several times, told apart by the key `name`.
    pub(crate) list: bool,
    /// What it is for, one line per item, each with the space that `///` leaves.
    pub(crate) doc: &'static [&'static str],
    /// Its keys.
    pub(crate) keys: &'static [Key],
    /// The tables in it.
    pub(crate) tables: &'static [&'static Self],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name within its table.
    pub(crate) name: &'static str,
    /// What it means.
    pub(crate) doc: &'static [&'static str],
    /// See [`Setting::KIND`].
    pub(crate) kind: &'static str,
    /// See [`Setting::EXPECTS`].
    pub(crate) expects: &'static str,
    /// See [`Setting::CHOICES`].
    pub(crate) choices: &'static [&'static str],
    /// Whether it takes a list of such values.
    pub(crate) list: bool,
    /// What counts if it is left out, as TOML.
    pub(crate) default: Option<&'static str>,
    /// Whether it may be left out although it has no default.
    pub(crate) optional: bool,
    /// The lowest and the highest allowed value, as TOML.
    pub(crate) range: Option<(&'static str, &'static str)>,
    /// Judges a value.
    pub(crate) check: fn(&DeValue<'_>, &Self) -> Result<(), Bad>,
}

impl Key {
    /// Its name with its tables: `poll.interval`.
    pub(crate) fn path(&self, table: &Table) -> String {
        join(table.path, self.name)
    }
}

/// `poll` and `interval` give `poll.interval`.
pub(super) fn join(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// Why a value does not do.
#[derive(Debug)]
pub(crate) enum Bad {
    /// Not of the type; see [`Setting::read`].
    Value(Option<String>),
    /// Of the type, out of [`Key::range`].
    Range,
}

/// A [`Key::check`] for keys without a range.
pub(super) fn any<T: Setting>(value: &DeValue<'_>, _: &Key) -> Result<(), Bad> {
    T::read(value).map(drop).map_err(Bad::Value)
}

/// A [`Key::check`] for keys with a range.
pub(super) fn within<T: Setting + PartialOrd>(value: &DeValue<'_>, key: &Key) -> Result<(), Bad> {
    let value = T::read(value).map_err(Bad::Value)?;
    let inside = key.range.is_none_or(|(low, high)| {
        let low = constant::<T>(low).is_some_and(|low| low <= value);
        low && constant::<T>(high).is_some_and(|high| value <= high)
    });
    if inside { Ok(()) } else { Err(Bad::Range) }
}

/// Reads a value that was written in a declaration. That all of them can be read is tested.
fn constant<T: Setting>(toml: &str) -> Option<T> {
    let value = DeValue::parse(toml).ok()?;
    T::read(value.get_ref()).ok()
}

/// A struct made from a [`Table`].
pub(crate) trait Section: Sized {
    /// Its declaration.
    const TABLE: &'static Table;

    /// Reads it from what the files say. Pushes every problem; `None` if there is one.
    fn read(values: &Values<'_>, problems: &mut Vec<Problem>) -> Option<Self>;
}

/// What the files say about one table, later files over earlier ones.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    /// The declaration.
    pub(super) table: &'static Table,
    /// Where the table stands, for what is missing in it.
    pub(super) place: Place,
    /// Its keys.
    pub(super) keys: BTreeMap<&'static str, (DeValue<'a>, Place)>,
    /// The tables in it that can stand once.
    pub(super) tables: BTreeMap<&'static str, Self>,
    /// The tables in it that can stand several times.
    pub(super) lists: BTreeMap<&'static str, Vec<Self>>,
}

impl<'a> Values<'a> {
    /// Nothing said yet.
    pub(super) fn new(table: &'static Table, place: Place) -> Self {
        let (lists, tables): (Vec<&Table>, Vec<&Table>) =
            table.tables.iter().partition(|inner| inner.list);
        Self {
            table,
            keys: BTreeMap::new(),
            tables: tables
                .into_iter()
                .map(|inner| (last(inner.path), Values::new(inner, place.clone())))
                .collect(),
            lists: lists
                .into_iter()
                .map(|inner| (last(inner.path), Vec::new()))
                .collect(),
            place,
        }
    }

    /// Reads the value of a key, or its default.
    pub(super) fn key<T: Setting>(&self, name: &str, problems: &mut Vec<Problem>) -> Option<T> {
        let key = self.table.keys.iter().find(|key| key.name == name)?;
        let Some((value, place)) = self.keys.get(key.name) else {
            let value = key.default.map_or_else(T::absent, constant);
            if value.is_none() {
                problems.push(Problem {
                    place: self.place.clone(),
                    what: What::Missing {
                        key: key.path(self.table),
                        expected: key.expects,
                    },
                });
            }
            return value;
        };
        let what = match (key.check)(value, key) {
            Ok(()) => return T::read(value).ok(),
            Err(Bad::Value(why)) => What::Value {
                key: key.path(self.table),
                expected: if key.list {
                    format!("a list, each entry {}", key.expects)
                } else {
                    key.expects.to_owned()
                },
                found: describe(value),
                why,
            },
            Err(Bad::Range) => {
                let (low, high) = key.range.unwrap_or_default();
                What::Range {
                    key: key.path(self.table),
                    found: describe(value),
                    low,
                    high,
                }
            }
        };
        problems.push(Problem {
            place: place.clone(),
            what,
        });
        None
    }

    /// Reads a table in this one.
    pub(super) fn section<T: Section>(&self, problems: &mut Vec<Problem>) -> Option<T> {
        T::read(self.tables.get(last(T::TABLE.path))?, problems)
    }

    /// Reads all entries of a list of tables.
    pub(super) fn entries<T: Section>(&self, problems: &mut Vec<Problem>) -> Option<Vec<T>> {
        let entries: Vec<Option<T>> = self
            .lists
            .get(last(T::TABLE.path))?
            .iter()
            .map(|entry| T::read(entry, problems))
            .collect();
        entries.into_iter().collect()
    }

    /// Where a key of this table was set, if it was.
    pub(super) fn set(&self, name: &str) -> Option<&Place> {
        self.keys.get(name).map(|(_, place)| place)
    }
}

/// `health.command` gives `command`.
pub(super) fn last(path: &'static str) -> &'static str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Declares a table: `keys` are `name: Type = default in low to high;`, `tables` the tables in it,
/// `lists` those that may stand several times.
macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $kind:ident $name:ident = $path:literal
        keys {
            $(
                $(#[doc = $kdoc:literal])*
                $key:ident : $type:ty $(= $default:tt $(in $low:literal to $high:literal)?)?;
            )*
        }
        $(tables { $($(#[doc = $tdoc:literal])* $table:ident : $section:ty,)* })?
        $(lists { $($(#[doc = $ldoc:literal])* $list:ident : $entry:ty,)* })?
    ) => {
        $(#[doc = $doc])*
        // No PartialEq: it would read every field, and a key that nobody reads could go unnoticed.
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $($(#[doc = $kdoc])* pub(crate) $key: $type,)*
            $($($(#[doc = $tdoc])* pub(crate) $table: $section,)*)?
            $($($(#[doc = $ldoc])* pub(crate) $list: Vec<$entry>,)*)?
        }

        impl Section for $name {
            const TABLE: &'static Table = &Table {
                path: $path,
                list: settings!(@list $kind),
                doc: &[$($doc),*],
                keys: &[$(Key {
                    name: stringify!($key),
                    doc: &[$($kdoc),*],
                    kind: <$type as Setting>::KIND,
                    expects: <$type as Setting>::EXPECTS,
                    choices: <$type as Setting>::CHOICES,
                    list: <$type as Setting>::LIST,
                    default: settings!(@text $($default)?),
                    optional: <$type as Setting>::OPTIONAL,
                    range: settings!(@range $($($low $high)?)?),
                    check: settings!(@check $type, $($($low)?)?),
                }),*],
                tables: &[
                    $($(<$section as Section>::TABLE,)*)?
                    $($(<$entry as Section>::TABLE,)*)?
                ],
            };

            fn read(values: &Values<'_>, problems: &mut Vec<Problem>) -> Option<Self> {
                // First all of them, so that every problem is told, then the struct.
                $(let $key = values.key(stringify!($key), problems);)*
                $($(let $table = values.section(problems);)*)?
                $($(let $list = values.entries(problems);)*)?
                Some(Self {
                    $($key: $key?,)*
                    $($($table: $table?,)*)?
                    $($($list: $list?,)*)?
                })
            }
        }
    };
    (@list table) => { false };
    (@list entry) => { true };
    (@text) => { None };
    (@text $default:tt) => { Some(stringify!($default)) };
    (@range) => { None };
    (@range $low:literal $high:literal) => { Some((stringify!($low), stringify!($high))) };
    (@check $type:ty,) => { any::<$type> };
    (@check $type:ty, $low:literal) => { within::<$type> };
}

pub(super) use settings;
