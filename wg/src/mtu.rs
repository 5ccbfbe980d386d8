//! The maximum transmission unit of an interface.

/// A maximum transmission unit in bytes, at least 1280: with less, Linux takes IPv6 off the
/// interface (RFC 8200 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

/// An MTU below 1280 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an MTU of {0} is too small: IPv6 needs at least {min}", min = Mtu::MIN.get())]
pub struct MtuTooSmall(pub u16);

impl Mtu {
    /// The least that IPv6 needs.
    pub const MIN: Self = Self(1280);
    /// 1500 less WireGuard's overhead over IPv6, as in wg-quick.
    pub const DEFAULT: Self = Self(1420);

    /// An MTU of this many bytes.
    ///
    /// # Errors
    /// Below 1280.
    pub const fn new(bytes: u16) -> Result<Self, MtuTooSmall> {
        if bytes < Self::MIN.0 {
            Err(MtuTooSmall(bytes))
        } else {
            Ok(Self(bytes))
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_keeps_ipv6_alive() {
        assert_eq!(Mtu::new(1279), Err(MtuTooSmall(1279)));
        assert_eq!(Mtu::new(1280).unwrap().get(), 1280);
        assert_eq!(Mtu::default().get(), 1420);
        assert!(MtuTooSmall(9).to_string().contains("1280"));
    }
}
