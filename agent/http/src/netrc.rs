//! Logins by host, in netrc files as curl and Nix read them.
//!
//! Read here: the crates for it refuse comments, forget the order, or bring a parser framework.

/// A login from a netrc file.
pub(crate) struct Login {
    /// `None` for all other hosts.
    host: Option<String>,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The login for a host: the first that fits.
pub(crate) fn login<'a>(logins: &'a [Login], host: &str) -> Option<&'a Login> {
    let fits = |login: &&Login| login.host.as_ref().is_none_or(|name| name == host);
    logins.iter().find(fits)
}

/// Reads a file's machines; macros are skipped.
pub(crate) fn parse(text: &str) -> Result<Vec<Login>, ()> {
    let mut logins: Vec<Login> = Vec::new();
    let mut in_macro = false;
    for line in text.lines().map(str::trim) {
        if in_macro {
            in_macro = !line.is_empty();
            continue;
        }
        let line = if line.starts_with('#') { "" } else { line };
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let mut new = |host| {
                logins.push(Login {
                    host,
                    user: String::new(),
                    password: String::new(),
                });
            };
            match word {
                "default" => new(None),
                "macdef" => {
                    in_macro = true;
                    break;
                }
                "machine" => new(Some(words.next().ok_or(())?.to_owned())),
                "login" => logins.last_mut().ok_or(())?.user = words.next().ok_or(())?.into(),
                "password" => {
                    logins.last_mut().ok_or(())?.password = words.next().ok_or(())?.into();
                }
                "account" => drop(words.next()),
                _ => return Err(()),
            }
        }
    }
    Ok(logins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netrc_files_are_read() {
        let found = parse(
            "# ours\nmachine a.example login u password p\nmacdef init\nmachine x\n\n\
             machine b.example\n  login v\n  password q\n  account z\ndefault login d password e\n",
        )
        .unwrap();
        for (host, user, password) in [
            ("a.example", "u", "p"),
            ("b.example", "v", "q"),
            ("c.example", "d", "e"),
        ] {
            let login = login(&found, host).unwrap();
            assert_eq!((&*login.user, &*login.password), (user, password));
        }
        for bad in ["login u", "machine", "machine a login", "password"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
