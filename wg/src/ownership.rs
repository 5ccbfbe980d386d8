//! The marks by which this crate knows its own interfaces, routes and rules.
//!
//! Whose interface is it? Userspace: ours if this process holds its TUN device, so a killed process
//! leaves nothing to adopt and nothing to clean up but a socket file. Kernel: ours if its private
//! key is ours. Only a holder of the key could have set it, the proof survives a restart of the
//! server, and two servers on one host cannot take each other's interface. If we were killed
//! between creating an interface and setting its key, we recognise it by its group, which is set by
//! the message that creates it ([`GROUP`]), and by its having no key.

/// The interface group (`IFLA_GROUP`) of what we create: "grid" in ASCII.
pub const GROUP: u32 = 0x6772_6964;

/// The protocol number (`rtm_protocol`, `FRA_PROTOCOL`) of the routes and policy rules that we make:
/// "g" in ASCII, which iproute2's list of numbers assigns to nobody.
pub const PROTOCOL: u8 = 0x67;
