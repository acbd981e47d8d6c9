//! What comes out of a delta.

use crate::{
    codec,
    container::{Checked, Delta, digest},
    error::{Error, Result},
    read_at::{ReadAt, Section},
};
use std::io::Write;

impl<D: ReadAt> Delta<D> {
    /// Checks the base, writes what comes out as it comes, and checks that last. What was written
    /// before an error must be thrown away.
    ///
    /// # Errors
    /// All but those of [`Delta::open`].
    pub fn apply(&self, base: &dyn ReadAt, out: &mut dyn Write) -> Result<()> {
        let header = &self.header;
        if base.size() != header.base_size
            || digest(base).map_err(Error::Base)? != header.base_digest
        {
            return Err(Error::WrongBase);
        }
        let mut checked = Checked::new(out, header);
        let body = Section::new(&self.file, self.body, u64::MAX);
        codec::decode(header.codec, header, body, base, &mut checked)?;
        if !checked.ends_as(header) {
            return Err(Error::WrongResult);
        }
        Ok(())
    }
}
