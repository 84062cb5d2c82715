//! A timestamp as RFC 2822 writes it, which is how anvil shows a block's time.

const DAY_SECS: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from 0000-03-01 to 1970-01-01, and of 400 years: the Gregorian calendar repeats then.
const EPOCH_DAY: u64 = 719_468;
const ERA_DAYS: u64 = 146_097;

/// "Wed, 25 Nov 2026 15:05:37 +0000" for seconds since the Unix epoch.
pub(super) fn rfc2822(timestamp: u64) -> String {
    let (days, second) = (timestamp / DAY_SECS, timestamp % DAY_SECS);
    let weekday = WEEKDAYS[usize::try_from(days % 7).expect("below 7")];

    // Years are counted from March, so that the leap day is the last of its year.
    let day = days + EPOCH_DAY;
    let day_of_era = day % ERA_DAYS;
    let leaps = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March on have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = day / ERA_DAYS * 400 + year_of_era + u64::from(month < 2);

    let month = MONTHS[usize::try_from(month).expect("below 12")];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day_of_month:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the calendar's edges are right. The expected texts are from `date -uR -d @N`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 +0000"),
            (1_795_619_137, "Wed, 25 Nov 2026 15:05:37 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ];
        for (timestamp, text) in known {
            assert_eq!(rfc2822(timestamp), text);
        }
        assert!(rfc2822(u64::MAX).ends_with(" +0000"), "no timestamp panics");
    }
}
