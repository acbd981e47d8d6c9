//! Numbers as deltas hold them: seven bits in each byte, the lowest first (LEB128).

use std::io::{self, Read};

/// Reads one. Ten bytes at most, and no bit too many.
pub(crate) fn read(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "a number has more than 64 bits",
    ))
}

/// Reads one that may be negative.
pub(crate) fn read_signed(from: &mut impl Read) -> io::Result<i64> {
    let number = read(from)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Writes one.
#[cfg(feature = "make")]
pub(crate) fn write(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Writes one that may be negative.
#[cfg(feature = "make")]
pub(crate) fn write_signed(to: &mut Vec<u8>, number: i64) {
    write(to, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64, signed: i64) {
            let mut bytes = Vec::new();
            write(&mut bytes, number);
            write_signed(&mut bytes, signed);
            let mut from = &bytes[..];
            prop_assert_eq!(read(&mut from).unwrap(), number);
            prop_assert_eq!(read_signed(&mut from).unwrap(), signed);
            prop_assert!(from.is_empty());
        }
    }

    #[test]
    fn a_number_without_end_is_refused() {
        for bytes in [&[0xff; 100][..], &[0xff, 0xff], &[]] {
            assert!(read(&mut &bytes[..]).is_err());
        }
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(read(&mut &largest[..]).unwrap(), u64::MAX);
        let above = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(read(&mut &above[..]).is_err());
    }
}
