//! The `hanc` program.

fn main() -> std::process::ExitCode {
    hanc::cli::main()
}
