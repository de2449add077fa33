//! This crate's speed and memory, measured beside its peers'.
//!
//! `cargo bench --bench peers` measures everything and takes a few minutes; `cargo bench --bench peers -- --help` says
//! more. It needs all features, and starts itself again with them if it was compiled without.
//!
//! # Method
//!
//! One process measures all. Of each row, ours and a peer's take samples in turns, so that a machine that is slow for a
//! moment is slow for both, and what is reported is the median of the ratios of neighbours, with half the distance
//! between their quartiles. The rows `get_u64_1` / `self` and `noise_…` compare something with itself: what they differ
//! from 1 is the machine's doing.
//!
//! Keys, values and results pass through `black_box`, in the same places on both sides. What has no name of its own
//! among the peers (setting a value, say) is compared with what they have for the purpose (a scope with another value).
//! Where a row is about what is added to something (a poll), that is measured right after each sample, and subtracted.
//!
//! The peer `floor` is what no implementation can do without: a load from the thread's locals for a read, an increment
//! and a decrement of an atomic for a copy, an allocation for a value that is set.

#[cfg(all(
    feature = "tokio",
    feature = "async-std",
    feature = "smol",
    feature = "rayon"
))]
#[path = "peers/all.rs"]
mod all;

#[cfg(all(
    feature = "tokio",
    feature = "async-std",
    feature = "smol",
    feature = "rayon"
))]
fn main() -> std::process::ExitCode {
    all::main()
}

/// Starts it with all features, and the same arguments.
#[cfg(not(all(
    feature = "tokio",
    feature = "async-std",
    feature = "smol",
    feature = "rayon"
)))]
fn main() -> std::process::ExitCode {
    use std::env;
    use std::process::{Command, ExitCode};

    let arguments: Vec<_> = env::args_os().skip(1).collect();
    // `cargo bench` passes it, and `cargo test` does not.
    let bench = arguments.iter().any(|argument| argument == "--bench");
    if !bench || arguments.iter().any(|argument| argument == "--test") {
        println!("nothing to test without the features `tokio`, `async-std`, `smol` and `rayon`");
        return ExitCode::SUCCESS;
    }
    let Some(cargo) = env::var_os("CARGO") else {
        eprintln!(
            "compiled without the features `tokio`, `async-std`, `smol` and `rayon`, and not started by cargo, which could \
             compile it with them: cargo bench --all-features --bench peers"
        );
        return ExitCode::FAILURE;
    };
    let status = Command::new(cargo)
        .args([
            "bench",
            "--all-features",
            "--bench",
            "peers",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--")
        .args(arguments.iter().filter(|argument| *argument != "--bench"))
        .status();
    match status {
        Ok(status) => status
            .code()
            .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)),
        Err(error) => {
            eprintln!("cargo cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
