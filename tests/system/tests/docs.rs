//! The book's pages are all in its table of contents, and its links lead somewhere.

use anyhow::{Context, Result};
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

    pages.insert(rig::source().join("README.md"));
    pages.insert(rig::source().join("tests/rig/README.md"));
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

#[test]
fn the_tests_that_the_threat_model_names_exist() -> Result<()> {
    let mut sources = BTreeSet::new();
    files(&rig::source().join("agent"), "rs", &mut sources)?;
    files(&rig::source().join("tests"), "rs", &mut sources)?;
    let code: String = sources
        .iter()
        .map(std::fs::read_to_string)
        .collect::<std::io::Result<_>>()?;
    let page = std::fs::read_to_string(rig::source().join("docs/src/threat-model.md"))?;
    // In the last column of each table; test names are the only code there.
    let cells = page
        .lines()
        .filter_map(|line| line.strip_suffix("|")?.rsplit('|').next());
    let named: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert_eq!(missing, Vec::<&&str>::new());
    Ok(())
}
