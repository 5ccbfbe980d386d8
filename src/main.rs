//! The program `grid`. See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    grid::main()
}
