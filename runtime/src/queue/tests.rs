//! What senders see of the room while a process takes letters out.

use super::*;
use crate::entropy::Entropy;

/// Goal: Q4: the count never falls below what waits, and exceeds it by an eighth of the bounds at
/// most; it is exact before the last letter is handled and after a turn.
/// Method: letters of random sizes in mailboxes of random bounds, turns of random lengths.
#[test]
fn room_is_given_back_in_lots_and_wholly() {
    let mut entropy = Entropy::from_seed(4);
    let below = |entropy: &mut Entropy, n: u64| usize::try_from(entropy.below(n)).unwrap();
    for _ in 0..300 {
        let items_max = 1 + below(&mut entropy, 400);
        let bytes_max = 1 + below(&mut entropy, 20_000);
        let (queue, taken) =
            (Queue::new(items_max, bytes_max, true), Taken::new(items_max, bytes_max));
        let (mut items, mut bytes) = (0, 0);
        let mut handled = 0;
        for _ in 0..20 {
            loop {
                let size = below(&mut entropy, 200);
                let weight = Weight::of_bytes(size);
                if queue.reserve(weight).is_err() {
                    break;
                }
                queue.push(Letter::new(size, weight)).ok().expect("not shut");
                (items, bytes) = (items + 1, bytes + size);
                if entropy.below(50) == 0 {
                    break;
                }
            }
            for _ in 0..=entropy.below(100) {
                // SAFETY: this thread alone has the queue, with messages of this type.
                let Some((size, _)) = (unsafe { queue.pop::<usize>(&taken, |_| ()) }) else {
                    break;
                };
                (items, bytes, handled) = (items - 1, bytes - size, handled + 1);
                let counted = queue.load();
                assert!(counted.items >= items && counted.items - items <= items_max / 8);
                assert!(counted.bytes >= bytes && counted.bytes - bytes <= bytes_max / 8);
                assert!(items > 0 || counted == Load::default(), "the last is handled beside it");
            }
            // SAFETY: as above.
            unsafe { queue.settle(&taken) };
            assert_eq!(queue.load(), Load { items, bytes });
        }
        assert!(handled > 0);
        // SAFETY: as above.
        assert_eq!(unsafe { queue.shut::<usize>(&taken) }.0.len(), items);
        assert_eq!(queue.load(), Load::default());
    }
}
