//! A message that would be shared between threads without a lock.
use std::{cell::Cell, rc::Rc};

use evenkeel_runtime::Message;

pub struct Shared(Rc<Cell<u64>>);

impl Message for Shared {}

fn main() {}
