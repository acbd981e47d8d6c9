//! The book's pages are all in its table of contents, and its links lead somewhere.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use surefoot_tests::rig;

/// Targets of the inline links in a Markdown text, without those to other sites.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    let prose: String = prose.flat_map(|line| [line, "\n"]).collect();
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchor that mdBook and GitHub give to a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn check(page: &Path, text: &str, book: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for link in links(text) {
        let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
        let target = match file {
            "" => page.to_owned(),
            file => page.parent().context("no parent")?.join(file),
        };
        // The book is published without the rest of the tree.
        let leaves =
            page.starts_with(book) && !target.canonicalize().is_ok_and(|to| to.starts_with(book));
        if !target.exists() || leaves {
            broken.push(format!("{}: {link}", page.display()));
        } else if !fragment.is_empty() {
            let text = std::fs::read_to_string(&target)?;
            let found = text
                .lines()
                .any(|line| line.starts_with('#') && anchor(line) == fragment);
            if !found {
                broken.push(format!("{}: {link}: no such heading", page.display()));
            }
        }
    }
    Ok(broken)
}

#[test]
fn pages_are_in_the_book_and_links_lead_somewhere() -> Result<()> {
    let docs = rig::source().join("docs/src");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md"))?;
    let listed: BTreeSet<PathBuf> = links(&summary)
        .into_iter()
        .map(|page| docs.join(page))
        .collect();
    let mut pages = BTreeSet::new();
    files(&docs, "md", &mut pages)?;
    pages.remove(&docs.join("SUMMARY.md"));
    assert_eq!(
        pages, listed,
        "pages on the left, docs/src/SUMMARY.md on the right"
    );

    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "tests/rig/README.md",
    ] {
        pages.insert(rig::source().join(page));
    }
    let mut broken = Vec::new();
    for page in &pages {
        broken.extend(check(page, &std::fs::read_to_string(page)?, &docs)?);
    }
    assert_eq!(broken, Vec::<String>::new());
    Ok(())
}

/// Every file with this extension below a directory.
fn files(directory: &Path, kind: &str, into: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, kind, into)?;
        } else if path.extension().is_some_and(|extension| extension == kind) {
            into.insert(path);
        }
    }
    Ok(())
}

/// The names of the tests in a source.
fn tests(code: &str) -> Vec<&str> {
    let mut marked = false;
    let mut names = Vec::new();
    for line in code.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((before, after)) = line.split_once("fn ")
            && marked
            && matches!(before, "" | "async ")
        {
            marked = false;
            names.extend(after.split('(').next());
        }
    }
    names
}

/// The names of the scenarios of robots in QEMU.
fn scenarios(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter_map(|line| line.strip_prefix("@scenario(\"")?.split('"').next())
}

#[test]
fn every_threat_and_every_fault_names_tests_that_exist() -> Result<()> {
    let mut sources = BTreeSet::new();
    files(&rig::source().join("agent"), "rs", &mut sources)?;
    files(&rig::source().join("tests"), "rs", &mut sources)?;
    let code: Vec<String> = sources
        .iter()
        .map(std::fs::read_to_string)
        .collect::<std::io::Result<_>>()?;
    let mut there: BTreeSet<&str> = code.iter().flat_map(|code| tests(code)).collect();
    let played = std::fs::read_to_string(rig::source().join("tests/rig/robot/scenarios.py"))?;
    there.extend(scenarios(&played));
    let page = |name: &str| std::fs::read_to_string(rig::source().join("docs/src").join(name));
    let faults = page("fetch.md")?;
    let (_, faults) = faults
        .split_once("\n## What goes wrong")
        .context("it has no such section")?;
    let page = page("threat-model.md")? + faults + &page("elsewhere.md")?;
    // Tables of a threat, what stops it, and tests, which are the only code in the last column.
    let rows = page.lines().filter_map(|line| {
        let (row, tests) = line
            .strip_prefix("| ")?
            .strip_suffix("|")?
            .rsplit_once('|')?;
        Some((row, tests.split('`').skip(1).step_by(2).collect::<Vec<_>>()))
    });
    let rows: Vec<_> = rows
        .filter(|(row, _)| !row.starts_with("threat |") && !row.starts_with("what "))
        .collect();
    assert!(rows.len() > 50, "{rows:?}");
    for (row, named) in rows {
        assert!(!named.is_empty(), "no test shows it: {row}");
        let missing: Vec<_> = named.iter().filter(|name| !there.contains(*name)).collect();
        assert!(missing.is_empty(), "no tests: {missing:?}");
    }
    Ok(())
}

/// An error's text is whole: it says its cause, or leaves that to `source()` alone. What does both is
/// read twice by whoever is shown the whole chain, as every program of ours shows it.
#[test]
fn no_error_says_its_cause_twice() -> Result<()> {
    let mut sources = BTreeSet::new();
    files(&rig::source().join("agent"), "rs", &mut sources)?;
    let (mut errors, mut twice) = (0, Vec::new());
    for file in sources {
        let code = std::fs::read_to_string(&file)?;
        for variant in code.split("#[error(").skip(1) {
            let Some((text, fields)) = variant.split_once(")]\n") else {
                continue;
            };
            errors += 1;
            let fields = fields.split("\n}").next().unwrap_or_default();
            let has_source = ["#[source]", "#[from]", " source:"]
                .iter()
                .any(|source| fields.contains(source));
            let says = ["{0", "{source", ".source", ".0"]
                .iter()
                .any(|cause| text.contains(cause));
            if text.trim() != "transparent" && has_source && says {
                twice.push(format!("{}: {text}", file.display()));
            }
        }
    }
    ensure!(errors > 50, "only {errors} error texts were found");
    ensure!(twice.is_empty(), "{}", twice.join("\n"));
    Ok(())
}

/// Whoever looks a message up in the page finds the words that the programs really print.
#[test]
fn troubleshooting_quotes_what_the_programs_say() -> Result<()> {
    let mut sources = BTreeSet::new();
    files(&rig::source().join("agent"), "rs", &mut sources)?;
    let mut code = String::new();
    for file in sources {
        // A string that goes over lines, as the compiler reads it.
        for line in std::fs::read_to_string(file)?.lines() {
            match line.trim_start().strip_suffix('\\') {
                Some(begun) => code.push_str(begun),
                None => code.extend([line.trim_start(), "\n"]),
            }
        }
    }
    let page = std::fs::read_to_string(rig::source().join("docs/src/troubleshooting.md"))?;
    let (mut quoted, mut unknown) = (0, Vec::new());
    let first_cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    for message in first_cells.filter_map(|row| row.split(" | ").next()) {
        for text in message.split("`, `").map(|text| text.trim_end_matches('`')) {
            quoted += 1;
            let parts = text.split('…').map(str::trim);
            let lacking = parts.filter(|part| part.len() > 3 && !code.contains(part));
            unknown.extend(lacking.map(|part| format!("{text}: nothing says '{part}'")));
        }
    }
    ensure!(quoted > 20, "only {quoted} messages were found in the page");
    ensure!(unknown.is_empty(), "{}", unknown.join("\n"));
    Ok(())
}
