//! Stand-in NixOS generations, built by real Nix.

use crate::rig;
use anyhow::{Context, Result};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// A Nix store on this machine where generations are built: the fleet's build machine. It is
/// shared by all tests and kept, since what is in it only depends on how it was asked for.
#[derive(Debug, Clone)]
pub struct Farm {
    root: PathBuf,
}

impl Farm {
    /// The farm of this source tree.
    pub fn shared() -> Self {
        Self {
            root: rig::cache().join("farm"),
        }
    }

    /// The directory that is the root of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store as Nix names it: for `--store`, `--from`, `--to`.
    pub fn store(&self) -> String {
        format!("local?root={}", self.root.display())
    }

    /// Builds the agent's package from the programs that cargo built for the tests, and gives its
    /// store path. Another revision is another package of the same programs.
    ///
    /// # Errors
    /// When the programs are missing or Nix fails.
    pub fn agent(&self, revision: &str) -> Result<String> {
        self.agent_with(revision, |unit| unit)
    }

    /// As [`Farm::agent`], with its units changed.
    ///
    /// # Errors
    /// When the programs are missing or Nix fails.
    pub fn agent_with(&self, revision: &str, edit: impl Fn(String) -> String) -> Result<String> {
        self.agent_of(&Programs::ours()?, revision, edit)
    }

    /// As [`Farm::agent_with`], from these programs.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn agent_of(
        &self,
        of: &Programs,
        revision: &str,
        edit: impl Fn(String) -> String,
    ) -> Result<String> {
        let mut units = Vec::new();
        for unit in std::fs::read_dir(of.source.join("packaging/systemd"))? {
            let unit = unit?;
            units.push((
                unit.file_name(),
                edit(std::fs::read_to_string(unit.path())?),
            ));
        }
        units.sort();
        let programs = [&of.surefootd, &of.surefoot];

        // Making it anew takes a second, and every fleet wants it.
        let mut hasher = DefaultHasher::new();
        for program in programs {
            let metadata = program.metadata()?;
            (program, metadata.len(), metadata.modified()?).hash(&mut hasher);
        }
        let recipe = std::fs::read(rig::program("toplevel/agent.nix"))?;
        // Agents of before it have none.
        let formats = std::fs::read(of.source.join("agent/core/formats.json")).ok();
        (&units, revision, recipe, &formats, rig::rootfs()?).hash(&mut hasher);
        let known = rig::cache().join(format!("agents/{:016x}", hasher.finish()));
        if let Ok(path) = std::fs::read_to_string(&known)
            && self.root.join(path.trim_start_matches('/')).exists()
        {
            return Ok(path);
        }

        let files = tempfile::tempdir()?;
        for directory in ["bin", "units"] {
            std::fs::create_dir(files.path().join(directory))?;
        }
        for program in programs {
            // Without its debug information: it is copied around a lot.
            let target = files
                .path()
                .join("bin")
                .join(program.file_name().unwrap_or_default());
            let mut strip = Command::new("strip");
            rig::run(
                strip
                    .arg("--strip-debug")
                    .arg("-o")
                    .arg(target)
                    .arg(program),
            )?;
        }
        for (name, text) in &units {
            std::fs::write(files.path().join("units").join(name), text)?;
        }
        if let Some(formats) = formats {
            std::fs::write(files.path().join("formats.json"), formats)?;
        }
        let path = rig::run(
            rig::leashed(rig::program("toplevel/build"))
                .arg("--agent")
                .args([&self.root, files.path()])
                .arg(revision),
        )?;
        std::fs::create_dir_all(rig::cache().join("agents"))?;
        let new = tempfile::NamedTempFile::new_in(rig::cache().join("agents"))?;
        std::fs::write(new.path(), &path)?;
        new.persist(known)?;
        Ok(path)
    }

    /// Copies a closure to a binary cache: a directory, which is made when it is missing.
    /// `compression` is `xz`, `zstd` or `none`; `key` is a file with a secret key to sign with.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn push(
        &self,
        path: &str,
        cache: &Path,
        compression: &str,
        key: Option<&Path>,
    ) -> Result<()> {
        let mut url = format!("file://{}?compression={compression}", cache.display());
        if let Some(key) = key {
            url += &format!("&secret-key={}", key.display());
        }
        rig::run(
            rig::nix("nix")
                .args(["copy", "--offline", "--no-check-sigs", "--from"])
                .args([&self.store(), "--to", &url, path]),
        )?;
        Ok(())
    }
}

/// Files for the /etc of generations.
///
/// # Errors
/// When they cannot be written.
pub fn etc(files: &[(&str, &str)]) -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(directory.path()))?;
        std::fs::write(path, text)?;
    }
    Ok(directory)
}

/// An /etc with a unit of this name and text that the default target pulls in.
///
/// # Errors
/// When it cannot be written.
pub fn etc_with_unit(name: &str, text: &str) -> Result<tempfile::TempDir> {
    let units = "systemd/system";
    let directory = etc(&[(&format!("{units}/{name}"), text)])?;
    let wants = directory.path().join(units).join("multi-user.target.wants");
    std::fs::create_dir(&wants)?;
    std::os::unix::fs::symlink(format!("../{name}"), wants.join(name))?;
    Ok(directory)
}

/// The programs of a version of Surefoot.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon.
    pub surefootd: PathBuf,
    /// The command line.
    pub surefoot: PathBuf,
    /// The source tree that they were built from.
    pub source: PathBuf,
}

impl Programs {
    /// Those that cargo built along with this test.
    ///
    /// # Errors
    /// When they were not built.
    pub fn ours() -> Result<Self> {
        Ok(Self {
            surefootd: built("surefootd")?,
            surefoot: built("surefoot")?,
            source: rig::source().to_owned(),
        })
    }

    /// Those of another source tree, which were built into this directory.
    pub fn of(source: &Path, built: &Path) -> Self {
        Self {
            surefootd: built.join("surefootd"),
            surefoot: built.join("surefoot"),
            source: source.to_owned(),
        }
    }
}

/// A program that cargo built along with this test.
///
/// # Errors
/// When it was not built.
pub fn built(program: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/debug/deps/TEST-HASH, or target/debug/PROGRAM
    let path = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(program))
        .find(|path| path.exists());
    path.with_context(|| format!("{program} is not built: cargo build --workspace --bins"))
}

/// How a generation is built; the arguments are those of `tests/rig/toplevel/default.nix`.
#[derive(Debug, Clone)]
pub struct Toplevel {
    name: String,
    arguments: Vec<String>,
    padding: usize,
}

impl Toplevel {
    /// A good generation of this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            arguments: Vec::new(),
            padding: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets an argument to a text.
    #[must_use]
    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.arguments
            .extend(["--argstr".into(), key.into(), value.into()]);
        self
    }

    /// Sets an argument to the value of a Nix expression.
    #[must_use]
    pub fn expression(mut self, key: &str, value: &str) -> Self {
        self.arguments
            .extend(["--arg".into(), key.into(), value.into()]);
        self
    }

    /// What becomes of the robot's application: `good`, `fails`, `exits`, `silent` or `none`.
    #[must_use]
    pub fn service(self, kind: &str) -> Self {
        self.text("service", kind)
    }

    /// Contains a package, such as the agent, by its store path in the farm.
    #[must_use]
    pub fn with(self, package: &str) -> Self {
        // The path is in the farm, not in this machine's store: make it a reference by hand.
        self.expression(
            "extra",
            &format!(
                "builtins.appendContext \"{package}\" {{ \"{package}\" = {{ path = true; }}; }}"
            ),
        )
    }

    /// Has the files of a directory in its /etc.
    #[must_use]
    pub fn etc(self, directory: &Path) -> Self {
        self.expression("etc", &directory.display().to_string())
    }

    /// Contains so many bytes that only depend on its name and do not compress.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Builds it, and gives its store path.
    ///
    /// # Errors
    /// When Nix cannot build it.
    pub fn build(&self, farm: &Farm) -> Result<String> {
        let mut padding = Vec::new();
        let file = tempfile::NamedTempFile::new()?;
        if self.padding != 0 {
            std::fs::write(file.path(), noise(&self.name, self.padding))?;
            padding.extend([
                "--arg".into(),
                "padding".into(),
                file.path().display().to_string(),
            ]);
        }
        rig::run(
            rig::leashed(rig::program("toplevel/build"))
                .arg(&farm.root)
                .arg(&self.name)
                .args(&self.arguments)
                .args(padding),
        )
    }
}

/// Bytes that look random: splitmix64, started with the name.
fn noise(name: &str, bytes: usize) -> Vec<u8> {
    let mut state = name
        .bytes()
        .fold(0_u64, |state, byte| state.rotate_left(7) ^ u64::from(byte));
    let words = std::iter::from_fn(|| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some((word ^ (word >> 31)).to_le_bytes())
    });
    words.flatten().take(bytes).collect()
}
