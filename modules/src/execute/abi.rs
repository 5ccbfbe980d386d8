//! The names of the interface between modules in WebAssembly and this program: see `docs/modules.md`.

/// The exports by which modules say which interface they speak begin with this; what follows is
/// the version.
pub(super) const ABI_PREFIX: &str = "grid_abi_";
/// The interface that is spoken here.
pub const ABI: &str = "grid_abi_1";
/// The export that is the guest's memory.
pub const MEMORY: &str = "memory";
/// The export that is the entry point *accept*.
pub const ACCEPT: &str = "promise_accept";
/// The export that is the entry point *handle*.
pub const HANDLE: &str = "promise_handle";
