//! surefoot-config(5): the reference of all keys as a manual page.

use super::{
    declare::{Key, Section as _, Table},
    keys::Config,
    reference::facts,
};
use roff::{Inline, Roff, bold, roman};

/// The page, as `man` reads it.
pub(super) fn page() -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["SUREFOOT-CONFIG", "5", "", "surefoot", "Surefoot"]);
    section("NAME", &mut roff);
    roff.text([roman(
        "surefoot-config - the configuration of a robot that updates itself",
    )]);
    section("SYNOPSIS", &mut roff);
    for (line, break_after) in [
        ("/etc/surefoot/config.toml", true),
        ("/etc/surefoot/config.d/*.toml", false),
    ] {
        roff.text([bold(line)]);
        if break_after {
            roff.control("br", []);
        }
    }
    section("DESCRIPTION", &mut roff);
    for paragraph in [
        "surefootd(8) reads these files, which are TOML. A file in config.d is laid over the ones before it, in \
         the order of their names: what it sets replaces what they set. On NixOS the module's options write \
         them, and have the same names below services.surefoot.settings.",
        "surefootd --check-config says everything that is wrong with them. systemctl reload surefootd reads them \
         again; a configuration with an error is refused, and the one before stays in force.",
    ] {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    describe(Config::TABLE, &mut roff);
    section("EXAMPLES", &mut roff);
    roff.control("nf", []);
    for line in [
        "repository = \"https://updates.example.org/fleet\"",
        "channel = \"stable\"",
        "model = \"picker\"",
        "",
        "[gates]",
        "leases = [\"gripper\"]",
    ] {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    section("SEE ALSO", &mut roff);
    roff.text([
        bold("surefootd"),
        roman("(8), "),
        bold("surefoot"),
        roman("(1), "),
        bold("surefoot-repository"),
        roman("(7)"),
    ]);
    roff.render()
}

fn section(title: &str, roff: &mut Roff) {
    roff.control("SH", [title]);
}

fn describe(table: &Table, roff: &mut Roff) {
    let title = match (table.path, table.list) {
        ("", _) => "THE ROBOT".to_owned(),
        (path, false) => format!("[{path}]"),
        (path, true) => format!("[[{path}]]"),
    };
    roff.control("SH", [title.as_str()]);
    paragraphs(table.doc, roff);
    for key in table.keys {
        entry(table, key, roff);
    }
    for inner in table.tables {
        describe(inner, roff);
    }
}

fn entry(table: &Table, key: &Key, roff: &mut Roff) {
    roff.control("TP", []);
    roff.text([bold(key.path(table))]);
    roff.text(inlines(&facts(key)));
    // Indented like the first paragraph of the entry.
    roff.control("RS", []);
    paragraphs(key.doc, roff);
    roff.control("RE", []);
}

/// The paragraphs and lists of a doc comment.
fn paragraphs(lines: &[&str], roff: &mut Roff) {
    let mut begins = true;
    for line in lines.iter().map(|line| line.trim()) {
        if line.is_empty() {
            begins = true;
            continue;
        }
        match line.strip_prefix("- ") {
            Some(item) => {
                roff.control("IP", ["\\(bu", "2"]);
                roff.text(inlines(item));
            }
            None => {
                if begins {
                    roff.control("PP", []);
                }
                roff.text(inlines(line));
            }
        }
        begins = false;
    }
}

/// Text with `` `code` ``, `**bold**` and `[links](page)`, of which a page on paper keeps the words.
fn inlines(text: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    let plain = without_links(text).replace("**", "");
    for (at, part) in plain.split('`').enumerate() {
        if !part.is_empty() {
            inlines.push(if at % 2 == 0 { roman(part) } else { bold(part) });
        }
    }
    inlines
}

fn without_links(text: &str) -> String {
    let (mut rest, mut plain) = (text, String::new());
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once("](").and_then(|(words, target)| {
            let (_, behind) = target.split_once(')')?;
            (!words.contains('[')).then_some((words, behind))
        }) {
            Some((words, behind)) => {
                plain.push_str(words);
                rest = behind;
            }
            None => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_entry() {
        fn keys(table: &Table, into: &mut Vec<String>) {
            into.extend(table.keys.iter().map(|key| key.path(table)));
            table.tables.iter().for_each(|inner| keys(inner, into));
        }
        let (mut all, page) = (Vec::new(), page());
        keys(Config::TABLE, &mut all);
        assert!(all.len() > 80, "{}", all.len());
        for key in all {
            let escaped = key.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB{escaped}\\fR")), "{key}");
        }
    }

    #[test]
    fn the_page_of_the_daemon_names_each_of_its_options() {
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../packaging/man/surefootd.8"
        );
        let page = std::fs::read_to_string(page).unwrap().replace('\\', "");
        let command = <crate::Cli as clap::CommandFactory>::command();
        for option in command.get_arguments().filter(|one| !one.is_hide_set()) {
            let name = option.get_long().unwrap();
            assert!(page.contains(&format!("--{name}")), "{name}");
        }
    }

    #[test]
    fn links_are_taken_out_and_tables_are_not() {
        assert_eq!(
            without_links("see [gates](gates.md#x) and [fetch]"),
            "see gates and [fetch]"
        );
        assert_eq!(
            without_links("`[[health.http]]` is"),
            "`[[health.http]]` is"
        );
        assert_eq!(without_links("[a](b"), "[a](b");
    }
}
