//! What `grid hello world` is compared with: a process that does the same and nothing else.

fn main() {
    let whom = std::env::args().nth(1).unwrap_or_default();
    println!("hello, {whom}");
}
