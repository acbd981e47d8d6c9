//! `surefoot delta`: deltas by hand, without a robot or a repository.

use crate::output::Output;
use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::BinaryBytes;
use serde_json::json;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Instant,
};
use surefoot_base::file;
use surefoot_delta::{Codec, Delta, Header, Limits, ReadAt, Tree, make};

/// Where the kernel says what a process takes (`proc_pid_status(5)`).
const OWN_STATUS: &str = "/proc/self/status";
/// The permissions that a new file is asked for; the umask takes from them.
const MODE: u32 = 0o666;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeltaCommand {
    Make(MakeArgs),
    Apply(ApplyArgs),
}

/// Make the delta that turns OLD into NEW.
///
/// A directory, such as a store path, stands for its NAR; any other file for its bytes, be it a NAR
/// or not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What leads from one store path to another:
      surefoot delta make /nix/store/…-curl-8.9 /nix/store/…-curl-8.10 --output curl.delta")]
pub(crate) struct MakeArgs {
    /// What there is.
    old: PathBuf,
    /// What there should be.
    new: PathBuf,
    /// The file for the delta.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How it is coded.
    #[arg(long, value_parser = codec(), default_value = Codec::Predict.name())]
    codec: Codec,
}

/// Apply a delta to OLD.
///
/// A directory, such as a store path, stands for its NAR; any other file for its bytes. What comes out
/// of a NAR is a NAR, which `nix-store --restore` unpacks.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  The other one, as a NAR:
      surefoot delta apply /nix/store/…-curl-8.9 curl.delta --output curl.nar")]
pub(crate) struct ApplyArgs {
    /// What there is.
    old: PathBuf,
    /// The delta.
    delta: PathBuf,
    /// The file for what comes out. It is not touched before all of it is known to be right.
    #[arg(short, long, value_name = "NEW")]
    output: PathBuf,
    /// The memory that the delta may take, MiB.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().memory >> 20)]
    memory: u64,
}

fn codec() -> impl TypedValueParser<Value = Codec> {
    PossibleValuesParser::new(Codec::ALL.map(Codec::name))
        .try_map(|name| Codec::named(&name).ok_or("there is no such codec"))
}

/// Runs one.
pub(crate) fn run(command: DeltaCommand, output: Output) -> anyhow::Result<()> {
    match command {
        DeltaCommand::Make(args) => make_delta(&args, output),
        DeltaCommand::Apply(args) => apply_delta(&args, output),
    }
}

fn make_delta(args: &MakeArgs, output: Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let mut delta = Vec::new();
    let header = make(&*old, &*new, args.codec, &mut delta)?;
    let made = began.elapsed();
    let began = Instant::now();
    let within = Limits {
        memory: u64::MAX,
        ..Limits::default()
    };
    Delta::open(&delta, &within)?
        .apply(&*old, &mut io::sink())
        .context("the delta that was made does not give back what it was made from")?;
    let applied = began.elapsed();
    file::replace(&args.output, &delta, MODE)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let (size, ratio) = (delta.len() as u64, ratio(delta.len() as u64, &header));
    if output.is_json() {
        return output.object(&json!({
            "codec": header.codec.name(),
            "oldBytes": header.base_size,
            "newBytes": header.result_size,
            "deltaBytes": size,
            "ratio": ratio,
            "seconds": made.as_secs_f64(),
            "applySeconds": applied.as_secs_f64(),
            "applyMemoryBytes": header.memory,
            "peakMemoryBytes": peak_memory(),
        }));
    }
    output.text(&format!(
        "{} for {}: {:.2} %, coded as {}, made in {:.1} s",
        BinaryBytes(size),
        BinaryBytes(header.result_size),
        ratio * 100.0,
        header.codec.name(),
        made.as_secs_f64()
    ))?;
    output.text(&format!(
        "Applying it takes {:.1} s here and {} of memory at most",
        applied.as_secs_f64(),
        BinaryBytes(header.memory)
    ))
}

fn apply_delta(args: &ApplyArgs, output: Output) -> anyhow::Result<()> {
    let began = Instant::now();
    let old = open(&args.old)?;
    let name = || args.delta.display().to_string();
    let delta = File::open(&args.delta).with_context(name)?;
    let limits = Limits {
        memory: args.memory.saturating_mul(1 << 20),
        ..Limits::default()
    };
    let delta_size = delta.size();
    let delta = Delta::open(&delta, &limits).with_context(name)?;
    file::replace_with(&args.output, MODE, |file| {
        delta.apply(&*old, file).map_err(io::Error::other)
    })
    .with_context(|| format!("cannot make {}", args.output.display()))?;
    let (header, seconds) = (delta.header(), began.elapsed().as_secs_f64());
    if output.is_json() {
        return output.object(&json!({
            "codec": header.codec.name(),
            "oldBytes": header.base_size,
            "newBytes": header.result_size,
            "deltaBytes": delta_size,
            "ratio": ratio(delta_size, header),
            "seconds": seconds,
            "applyMemoryBytes": header.memory,
            "peakMemoryBytes": peak_memory(),
        }));
    }
    output.text(&format!(
        "{} out of {} and a delta of {} in {seconds:.1} s",
        BinaryBytes(header.result_size),
        BinaryBytes(header.base_size),
        BinaryBytes(delta_size),
    ))
}

/// What a path on the command line stands for: a directory for its NAR, anything else for its bytes. A
/// link stands for what it leads to, as `result` of `nix build` does.
fn open(path: &Path) -> anyhow::Result<Box<dyn ReadAt>> {
    let open = || -> io::Result<Box<dyn ReadAt>> {
        let path = path.canonicalize()?;
        if path.is_dir() {
            return Ok(Box::new(Tree::new(&path)?));
        }
        let file = File::open(path)?;
        // A pipe cannot be read at any place.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is neither a file nor a directory"));
        }
        Ok(Box::new(file))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// The part of what comes out that the delta is.
fn ratio(size: u64, header: &Header) -> f64 {
    size as f64 / header.result_size.max(1) as f64
}

/// The most memory that this process has had so far, bytes, if the kernel says it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string(OWN_STATUS).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
