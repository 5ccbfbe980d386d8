//! Every bound and every span of the protocol, in one place.
//!
//! Two nodes with other numbers here would disagree about the same statements, so these are part of
//! the protocol: changing one means a new promise text.

use std::time::Duration;

/// Acts that an invite names as the last ones of owners.
pub const MAX_HEADS: usize = 16;
/// How far ahead of the believed time a statement may have been made.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// How long a member promise lives.
pub const PROMISE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How old a member promise is when its node renews it (with jitter, see `core::timers`).
pub const PROMISE_RENEWAL: Duration = Duration::from_secs(8 * 3600);
/// How long an address stays reserved after its promise lapsed or was withdrawn.
pub const QUIET_TIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a receipt speaks for an address (the lifetime of a promise and its quiet time).
pub const RECEIPT_LIFETIME: Duration = Duration::from_secs(8 * 24 * 3600);
/// How old its receipts are when a node asks for fresh ones.
pub const RECEIPT_RENEWAL: Duration = Duration::from_secs(24 * 3600);
/// How long after an invite's expiry a first use of it is still believed without a receipt.
pub const INVITE_GRACE: Duration = Duration::from_secs(10 * 60);
/// The longest life an invite can be given.
pub const INVITE_MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Bytes of one signed statement.
pub const MAX_STATEMENT: usize = 8 * 1024;
/// Bytes of an invite's text form.
pub const MAX_INVITE_TEXT: usize = 16 * 1024;
/// Links of an admission, from an owner to the node.
pub const MAX_CHAIN: usize = 6;
/// Uses of one invite.
pub const MAX_USES: u32 = 10_000;
/// Owners of a network.
pub const MAX_OWNERS: usize = 16;
/// Endpoints of one kind of port in a member promise, and bootstrap nodes of an invite.
pub const MAX_ENDPOINTS: usize = 16;
/// Further prefixes (subnets, exits) in a member promise.
pub const MAX_PREFIXES: usize = 32;
/// Receipts in a member promise.
pub const MAX_RECEIPTS: usize = 4;
/// Bytes of a node's label.
pub const MAX_LABEL: usize = 63;
/// Nodes that one act of an owner admits, and nodes that it keeps under an invite that it closes.
pub const MAX_NAMED: usize = 128;
/// Revocations that one admission by name overrides.
pub const MAX_OVER: usize = 32;
/// How far an office is from the top at most.
pub const MAX_OFFICE_DEPTH: u32 = 16;
/// Acts that show that a node needs nobody else to be a member: the one that admits it, and those by which its owner was
/// appointed.
pub const MAX_ROOTING: usize = MAX_OFFICE_DEPTH as usize + 1;
/// Acts of owners that a node keeps, per network.
pub const MAX_ACTS: usize = 4096;
/// Members that a node keeps statements of, per network.
pub const MAX_MEMBERS: usize = 8192;
/// Of these, members whom no owner let in, and who came by one of them: in an open network.
pub const MAX_BY_THEMSELVES: usize = MAX_MEMBERS / 2;
/// Of these, members who came by one member who is no owner. One invite of it brings half as many, a guest as many as the
/// invite that it came by, and so on.
pub const MAX_THROUGH: usize = 1024;
/// Members who are gone, of whom a node keeps that they used their invites, per network.
pub const MAX_TRACES: usize = 8192;
/// Promises of nodes that are no members by what owners did, of which a node keeps so many, per network: what owners
/// did can turn out not to count.
pub const MAX_VOID: usize = 512;
/// Uses of one invite that are kept beyond those it allows, so that losers can be told why.
pub const SPARE_USES: usize = 16;

/// Nesting of any statement or message body.
pub const MAX_DEPTH: u8 = 8;
