//! The files of a configuration: `config.toml`, then its drop-ins, each over the ones before.

use super::{
    declare::{Section, Table, Values, join, last},
    keys::{self, Config},
    limits::{MAX_DROP_INS, MAX_ENTRIES, MAX_FILE_BYTES, MAX_PROBLEMS},
    problem::{ConfigError, Place, Problem, What},
    values::describe,
};
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_base::file::{self, ReadError};
use toml::de::{DeTable, DeValue};

/// The name of the directory of drop-ins, beside the configuration file.
pub(crate) const DROP_INS: &str = "config.d";

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<PathBuf>,
    pub(super) text: String,
}

/// Reads a configuration file and, over it, the drop-ins `config.d/*.toml` beside it, sorted by
/// name. A later file wins key by key; checks are told apart by their names.
///
/// # Errors
/// [`ConfigError`] with every problem that there is.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let (sources, problems) = sources(path);
    assemble(path, &sources, problems)
}

/// The files that can be read, in order, and what is wrong with the others.
pub(super) fn sources(path: &Path) -> (Vec<Source>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    let mut files = vec![path.to_owned()];
    let dir = path.with_file_name(DROP_INS);
    match drop_ins(&dir) {
        Ok(found) => files.extend(found),
        Err(what) => problems.push(Problem {
            place: Place::file(dir),
            what,
        }),
    }
    for file in files {
        match read(&file) {
            Ok(text) => sources.push(Source {
                file: Arc::new(file),
                text,
            }),
            Err(what) => problems.push(Problem {
                place: Place::file(file),
                what,
            }),
        }
    }
    (sources, problems)
}

/// The drop-ins of a directory, sorted by name; none if there is no such directory.
///
/// # Errors
/// It cannot be read, or holds too many.
pub(crate) fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, What> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(What::Unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(What::Unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
        if files.len() > MAX_DROP_INS {
            return Err(What::TooMany);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, What> {
    file::read_text(path, MAX_FILE_BYTES).map_err(|error| match error {
        ReadError::Io(error) => What::Unreadable(error),
        ReadError::NotAFile => What::NotAFile,
        ReadError::TooLarge { .. } => What::TooLarge,
        ReadError::NotText => What::Encoding,
    })
}

/// Puts the files together, in order, after whatever was wrong with reading them.
pub(super) fn assemble(
    path: &Path,
    sources: &[Source],
    mut problems: Vec<Problem>,
) -> Result<Config, ConfigError> {
    let values = lay(path, sources, &mut problems);
    let (config, unread) = judge(&values, &problems);
    problems.extend(unread);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => {
            problems.sort_by(|a, b| a.place.cmp(&b.place));
            Err(ConfigError(problems))
        }
    }
}

/// Lays the files over each other.
pub(super) fn lay<'a>(
    path: &Path,
    sources: &'a [Source],
    problems: &mut Vec<Problem>,
) -> Values<'a> {
    let mut values = Values::new(Config::TABLE, Place::file(path));
    for source in sources {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            merge(&mut values, table.into_inner(), source, problems);
        }
        let errors = errors.into_iter().take(MAX_PROBLEMS);
        problems.extend(errors.map(|error| Problem {
            place: source.place(error.span()),
            what: What::Syntax(error.message().to_owned()),
        }));
    }
    values
}

/// What the files say together, and what is wrong with that, after whatever was wrong with the files.
pub(super) fn judge(values: &Values<'_>, problems: &[Problem]) -> (Option<Config>, Vec<Problem>) {
    // A file that could not be used may say what now seems to be missing.
    let whole = problems.len() < MAX_PROBLEMS
        && problems
            .iter()
            .all(|problem| matches!(problem.what, What::UnknownKey { .. }));
    let mut unread = Vec::new();
    let config = Config::read(values, &mut unread);
    unread.retain(|problem| whole || !matches!(problem.what, What::Missing { .. }));
    if let Some(config) = &config {
        unread.append(&mut keys::impossible(config, values));
    }
    (config, unread)
}

impl Source {
    /// Where a range of bytes starts.
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let before = span.and_then(|span| self.text.get(..span.start));
        Place {
            file: Arc::clone(&self.file),
            at: before.map(|before| {
                let line = before.rsplit('\n').next().unwrap_or(before);
                (before.matches('\n').count() + 1, line.chars().count() + 1)
            }),
        }
    }
}

/// Lays one table of a file over what earlier files said.
fn merge<'a>(
    values: &mut Values<'a>,
    table: DeTable<'a>,
    source: &Source,
    problems: &mut Vec<Problem>,
) {
    let declared = values.table;
    for (name, value) in table {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        let place = source.place(Some(value.span()));
        let path = join(declared.path, name.get_ref());
        let shape = |expected: String, value: &DeValue<'_>| Problem {
            place: place.clone(),
            what: What::Shape {
                key: path.clone(),
                expected,
                found: describe(value),
            },
        };
        let key = declared.keys.iter().find(|key| key.name == name.get_ref());
        let inner = declared
            .tables
            .iter()
            .find(|inner| last(inner.path) == name.get_ref());
        match (key, inner, value.into_inner()) {
            (Some(key), _, value) => {
                values.keys.insert(key.name, (value, place));
            }
            (None, Some(inner), DeValue::Table(table)) if !inner.list => {
                if let Some(values) = values.tables.get_mut(last(inner.path)) {
                    values.place = place;
                    merge(values, table, source, problems);
                }
            }
            (None, Some(inner), DeValue::Array(entries)) if inner.list => {
                for entry in entries {
                    if problems.len() >= MAX_PROBLEMS {
                        return;
                    }
                    let at = source.place(Some(entry.span()));
                    match entry.into_inner() {
                        DeValue::Table(table) => {
                            let mut fresh = Values::new(inner, at);
                            merge(&mut fresh, table, source, problems);
                            let list = values.lists.entry(last(inner.path)).or_default();
                            problems.extend(add(list, fresh));
                        }
                        value => problems.push(shape(format!("tables: [[{path}]]"), &value)),
                    }
                }
            }
            (None, Some(inner), value) => {
                let brackets = if inner.list {
                    format!("tables: [[{path}]]")
                } else {
                    format!("a table: [{path}]")
                };
                problems.push(shape(brackets, &value));
            }
            (None, None, _) => problems.push(Problem {
                place: source.place(Some(name.span())),
                what: What::UnknownKey {
                    nearest: nearest(&path),
                    key: cut(&path),
                },
            }),
        }
    }
}

/// Adds an entry to a list, or replaces the one of an earlier file with the same name.
fn add<'a>(list: &mut Vec<Values<'a>>, fresh: Values<'a>) -> Option<Problem> {
    let name = |entry: &Values<'_>| {
        let (value, _) = entry.keys.get("name")?;
        value.as_str().map(str::to_owned)
    };
    let fresh_name = name(&fresh);
    let full = list.len() >= MAX_ENTRIES;
    let twin = list
        .iter_mut()
        .find(|entry| fresh_name.is_some() && name(entry) == fresh_name);
    match twin {
        Some(twin) if Arc::ptr_eq(&twin.place.file, &fresh.place.file) => Some(Problem {
            what: What::Twice {
                list: fresh.table.path.into(),
                name: cut(&fresh_name.unwrap_or_default()),
            },
            place: fresh.set("name").unwrap_or(&fresh.place).clone(),
        }),
        Some(twin) => {
            *twin = fresh;
            None
        }
        None if full => Some(Problem {
            what: What::Impossible(format!(
                "{} has more than {MAX_ENTRIES} entries",
                fresh.table.path
            )),
            place: fresh.place,
        }),
        None => {
            list.push(fresh);
            None
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The key or table that was most likely meant.
fn nearest(path: &str) -> Option<String> {
    let path = cut(path);
    let (around, name) = path.rsplit_once('.').unwrap_or(("", &path));
    let mut known = Vec::new();
    names(Config::TABLE, &mut known);
    known
        .into_iter()
        .map(|candidate| {
            let (inside, last) = candidate.rsplit_once('.').unwrap_or(("", &candidate));
            let typed = name.replace('-', "_").to_lowercase();
            let distance = strsim::damerau_levenshtein(&typed, last);
            // A right name in a wrong table is a likely slip too.
            (distance, usize::from(inside != around), candidate)
        })
        .filter(|(distance, ..)| *distance <= 1 + name.len() / 4 && *distance < name.len())
        .min()
        .map(|(.., candidate)| candidate)
}

/// All names that can be written: keys and tables.
fn names(table: &Table, into: &mut Vec<String>) {
    into.extend(table.keys.iter().map(|key| key.path(table)));
    for inner in table.tables {
        into.push(inner.path.to_owned());
        names(inner, into);
    }
}
