//! Taking secrets out of text that leaves the robot.
//!
//! What is known to be secret here is removed by its value, the rest by its look: rather a word too many.

use serde_json::Value;

/// What stands where a secret was.
pub(super) const REMOVED: &str = "[removed]";

/// Shorter words of a file with secrets are no secret by themselves, bytes.
const LEAST: usize = 6;

/// Words of files with secrets that are not secret.
const PLAIN: [&str; 9] = [
    "machine",
    "default",
    "password",
    "account",
    "macdef",
    "authorization:",
    "bearer",
    "aws_access_key_id",
    "aws_secret_access_key",
];

/// What follows one of these names is secret, whatever their case.
const NAMES: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api-key",
    "apikey",
    "api_key",
    "access_key",
    "access-key",
    "authorization",
    "cookie",
    "credential",
    "private-key",
    "private_key",
    "psk",
    "signature=",
];

/// Behind these and a space stands a secret.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// How long a word is in base 64 that may be a key, characters.
const KEY: usize = 40;

/// Knows what is secret on this robot.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    values: Vec<String>,
}

impl Scrubber {
    /// What stands in a file with secrets is secret, word by word.
    pub(super) fn learn(&mut self, content: &str) {
        let separators = |c: char| c.is_whitespace() || "\"',;=".contains(c);
        let words = content.split(separators).filter(|word| {
            let plain = PLAIN.iter().any(|plain| word.eq_ignore_ascii_case(plain));
            word.len() >= LEAST && !plain
        });
        self.values.extend(words.map(str::to_owned));
        // The longest first: one may be the beginning of another.
        self.values
            .sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        self.values.dedup();
    }

    /// A text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut in_key = false;
        for line in text.split_inclusive('\n') {
            if line.contains("-----BEGIN ") {
                in_key = true;
                clean.push_str(REMOVED);
                clean.push('\n');
            }
            if !in_key {
                clean.push_str(&self.line(line));
            }
            if line.contains("-----END ") {
                in_key = false;
            }
        }
        clean
    }

    /// An object without secrets.
    pub(super) fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(values) => values.iter().map(|value| self.json(value)).collect(),
            Value::Object(fields) => (fields.iter())
                .map(|(name, value)| {
                    let lower = name.to_lowercase();
                    let secret = NAMES.iter().any(|secret| lower.contains(secret));
                    let clean = match value {
                        Value::String(_) | Value::Array(_) if secret => REMOVED.into(),
                        value => self.json(value),
                    };
                    (self.text(name), clean)
                })
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn line(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for value in &self.values {
            if line.contains(value) {
                line = line.replace(value, REMOVED);
            }
        }
        let line = named(&without_words(&without_logins(&line)));
        schemes(&line)
    }
}

/// What follows a name of a secret goes, to the end of the line.
fn named(line: &str) -> String {
    // Of the same length, byte by byte.
    let lower = line.to_ascii_lowercase();
    let end_of = |name: &&str| {
        let mut from = 0;
        while let Some(at) = lower[from..].find(*name) {
            let after = from + at + name.len();
            let rest = &line[after..];
            // The rest of the name, and quotes around it.
            let rest = rest
                .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.\"'".contains(c));
            let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            let separator = &rest[spaces..];
            let is_value = separator.starts_with([':', '=']) || name.ends_with('=');
            if is_value || (spaces > 0 && name.starts_with("pass")) {
                let skipped = usize::from(separator.starts_with([':', '=']));
                return Some(line.len() - separator.len() + skipped);
            }
            from = after;
        }
        None
    };
    match NAMES.iter().filter_map(end_of).min() {
        Some(end) => {
            let newline = if line.ends_with('\n') { "\n" } else { "" };
            format!("{} {REMOVED}{newline}", &line[..end])
        }
        None => line.to_owned(),
    }
}

/// `Bearer …` and `Basic …`.
fn schemes(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let found = SCHEMES.iter().find_map(|scheme| {
        let at = lower.find(scheme)?;
        Some(at + scheme.len())
    });
    let Some(start) = found else {
        return line.to_owned();
    };
    let rest = &line[start..];
    let length = rest.find(|c: char| c.is_whitespace() || "\"'".contains(c));
    let length = length.unwrap_or(rest.len());
    // "basic functions" is no login.
    if length < 12 {
        return line.to_owned();
    }
    format!("{}{REMOVED}{}", &line[..start], &rest[length..])
}

/// Logins and queries of URLs.
fn without_logins(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>`|,;)".contains(c));
        let (url, after) = url.split_at(end.unwrap_or(url.len()));
        let host_ends = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (host, path) = url.split_at(host_ends);
        match host.rsplit_once('@') {
            Some((_, host)) => {
                clean.push_str(REMOVED);
                clean.push('@');
                clean.push_str(host);
            }
            None => clean.push_str(host),
        }
        match path.split_once('?') {
            Some((path, _)) => {
                clean.push_str(path);
                clean.push('?');
                clean.push_str(REMOVED);
            }
            None => clean.push_str(path),
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// Words that look like keys: long ones in base 64 with its padding, and tokens of known makers.
fn without_words(line: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || "+/=_-.".contains(c);
    let mut clean = String::with_capacity(line.len());
    let mut word = String::new();
    let end = |word: &mut String, clean: &mut String| {
        let secret = (word.len() > KEY && word.ends_with('='))
            || (word.len() > KEY && word.starts_with("eyJ"))
            || (word.len() >= 16 && word.starts_with("AKIA"))
            || (word.len() >= 20
                && ["ghp_", "gho_", "glpat-", "xoxb-"]
                    .iter()
                    .any(|p| word.starts_with(p)));
        clean.push_str(if secret { REMOVED } else { word });
        word.clear();
    };
    for c in line.chars() {
        if inside(c) {
            word.push(c);
        } else {
            end(&mut word, &mut clean);
            clean.push(c);
        }
    }
    end(&mut word, &mut clean);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_by_value_and_by_look() {
        let mut scrubber = Scrubber::default();
        scrubber.learn("machine cache.example login robot password CANARY-netrc-1\nAuthorization: CANARY-header-2\n");
        for line in [
            "fetching with CANARY-netrc-1 now",
            "cannot reach https://bob:CANARY@cache.example/nar/x.nar",
            "GET https://cache.example/nar/x?X-Amz-Signature=CANARY&y=1",
            "Authorization: Bearer CANARY",
            "  \"password\": \"CANARY\",",
            "DB_PASSWORD=CANARY",
            "password_pbkdf2 root grub.pbkdf2.sha512.CANARY",
            "access-tokens = github.com=CANARY",
            "api_key: CANARY",
            "header Bearer CANARY-of-some-length",
            "cache-1:CANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARYCAN==",
            "eyJhbGciOiJIUzI1NiJ9.CANARYCANARYCANARYCANARYCANARYCANARY",
            "ghp_CANARYCANARYCANARYCANARY",
            "wpa_psk=CANARY",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY\n-----END OPENSSH PRIVATE KEY-----",
            "CANARY-header-2",
        ] {
            let clean = scrubber.text(line);
            assert!(!clean.contains("CANARY"), "{line}: {clean}");
            assert!(clean.contains(REMOVED), "{line}");
        }
    }

    #[test]
    fn what_support_needs_stays() {
        let scrubber = Scrubber::default();
        for line in [
            "unit arm.service failed with exit code 1\n",
            "release 3 /nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-nixos-system-picker-26.05.20261101.abcdef0\n",
            "cannot reach https://cache.example/nix-cache-info: timed out after 30 s\n",
            "sha256:0000000000000000000000000000000000000000000000000000\n",
            "basic checks passed\n",
            "größer als 日本\n",
        ] {
            assert_eq!(scrubber.text(line), line);
        }
    }

    #[test]
    fn objects_keep_their_shape() {
        let mut scrubber = Scrubber::default();
        scrubber.learn("CANARY-value");
        let value = serde_json::json!({
            "token": "CANARY", "secondsLeft": 3, "secret": { "deep": "https://a:CANARY@b/" },
            "log": ["x CANARY-value", "password: CANARY"], "tokens": 3,
        });
        let clean = scrubber.json(&value);
        assert!(!clean.to_string().contains("CANARY"), "{clean}");
        assert_eq!(clean["secondsLeft"], 3);
        assert_eq!(clean["tokens"], 3);
        assert_eq!(clean["log"].as_array().unwrap().len(), 2);
    }
}
