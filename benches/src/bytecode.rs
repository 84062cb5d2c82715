//! Assembles EVM bytecode by hand. Pure.

/// The opcodes that the hostile programs use (Yellow Paper, appendix H).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the Yellow Paper's")]
pub enum Op {
    Add = 0x01,
    Gt = 0x11,
    Keccak256 = 0x20,
    Address = 0x30,
    CallDataSize = 0x36,
    CallDataCopy = 0x37,
    Pop = 0x50,
    SLoad = 0x54,
    Jump = 0x56,
    JumpI = 0x57,
    Gas = 0x5a,
    JumpDest = 0x5b,
    Dup1 = 0x80,
    Dup2 = 0x81,
    Dup3 = 0x82,
    Call = 0xf1,
    StaticCall = 0xfa,
}

/// A place in the code that can be jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u64);

/// Bytecode under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code(Vec<u8>);

impl Code {
    /// Starts an empty program.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends `op`.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        self.0.push(op as u8);
        self
    }

    /// Appends the shortest `PUSH1 ..= PUSH8` of `value`.
    #[must_use]
    pub fn push(self, value: u64) -> Self {
        let bytes = value.to_be_bytes();
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count().min(7);
        self.push_bytes(&bytes[zeros..])
    }

    /// Appends the `PUSH` of these 1 to 32 bytes.
    #[must_use]
    pub fn push_bytes(mut self, bytes: &[u8]) -> Self {
        assert!((1..=32).contains(&bytes.len()));
        let push1 = 0x60;
        self.0.push(push1 + u8::try_from(bytes.len() - 1).expect("below 32"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a `JUMPDEST` and returns its label.
    #[must_use]
    pub fn label(self) -> (Self, Label) {
        let label = Label(self.0.len() as u64);
        (self.op(Op::JumpDest), label)
    }

    /// Appends a jump to `label`.
    #[must_use]
    pub fn jump(self, label: Label) -> Self {
        self.push(label.0).op(Op::Jump)
    }

    /// Appends a jump to `label` that is taken when the top of the stack is not zero.
    #[must_use]
    pub fn jump_if(self, label: Label) -> Self {
        self.push(label.0).op(Op::JumpI)
    }

    /// The finished bytecode.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the shortest endless loop is the one of the issue, and wide pushes keep their bytes.
    #[test]
    fn pushes_are_shortest_and_labels_are_offsets() {
        let (code, start) = Code::new().label();
        assert_eq!(code.jump(start).into_bytes(), [0x5b, 0x60, 0x00, 0x56]);
        let wide = Code::new().push(0x0100).push_bytes(&[7; 32]).into_bytes();
        assert_eq!((&wide[..4], wide.len()), (&[0x61, 0x01, 0x00, 0x7f][..], 36));
        let (_, label) = Code::new().push(u64::MAX).label();
        assert_eq!(label, Label(9));
    }
}
