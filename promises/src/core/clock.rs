//! What time it is: this machine's clock, as far as it can be believed.
//!
//! Statements of others never move the believed time: each may be five minutes ahead, and many of them would make a
//! year. It goes on from what this node wrote down and believed before, and follows the machine's clock as long as that
//! does not leap. A leap, either way, needs [voices](crate::core::voices): what others say that their clocks show. A node
//! that hears nobody runs on its clock. Until somebody confirms it, or it stood for a day, it forgets nothing for good.

use std::time::Duration;

use crate::core::record::WrittenTime;
use crate::core::status::ClockStatus;
use crate::core::watermark::{LEEWAY, Watermark};
use crate::limits::CLOCK_SKEW;
use crate::time::{Millis, Timestamp};

/// How long a clock has to run without a leap, and without a voice against it, until it is believed by itself.
const STOOD: Duration = Duration::from_secs(24 * 3600);
/// How often the time is written down.
const WRITE_EVERY: Duration = Duration::from_secs(10 * 60);
/// No clock is right that shows less: the beginning of 2025, before there was such a program. Not the time of the build,
/// so that a build can be repeated, and a build machine whose clock is ahead does no harm.
const FLOOR: Timestamp = Timestamp(1_735_689_600);
/// The weight that confirms a time: two lines, or an owner.
const CONFIRMED: u32 = 2;

/// A time, as seconds ahead of the time that timers count.
pub(crate) type Offset = i64;

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voice {
    offset: Offset,
    weight: u32,
}

impl Voice {
    /// That of an owner, which is enough to confirm a time.
    pub(crate) const fn of_owner(offset: Offset) -> Self {
        Self {
            offset,
            weight: CONFIRMED,
        }
    }

    /// That of a line.
    pub(crate) const fn of_line(offset: Offset) -> Self {
        Self { offset, weight: 1 }
    }
}

/// How far the machine's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// As long as nobody says otherwise: since then nobody confirmed it.
    Loose { since: Millis },
    /// It was confirmed, or stood for a day. If it has leapt since, it is not followed.
    Firm { leapt: Option<Millis> },
}

/// Whether a clock of which nothing was written down is moved by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// It is: this node came to a network that others had before.
    Others,
    /// It is not: this node is an owner, whom others follow. Each would take the other's time.
    Own,
}

/// What is believed, and why.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What the machine's clock shows.
    shown: Offset,
    /// What is believed.
    believed: Offset,
    /// What a clock must show that nobody confirms: what was believed before.
    floor: Offset,
    /// Since when statements are taken to have lapsed, as long as nobody says what time it is: what was written down.
    kept: Option<Offset>,
    trust: Trust,
    /// What was written down last as believed, and when.
    noted: Option<Timestamp>,
    written: Option<Millis>,
    /// What was written down last of what the clock has shown.
    marked: Option<Timestamp>,
    /// Whether what was written down is wrong.
    gave_way: bool,
    /// What others say, where nobody says what is believed.
    said: Option<Offset>,
    mark: Watermark,
}

impl Default for Clock {
    /// A machine whose clock agrees with its timers.
    fn default() -> Self {
        Self {
            shown: 0,
            believed: 0,
            floor: Offset::MIN,
            kept: None,
            trust: Trust::Loose { since: Millis(0) },
            noted: None,
            written: None,
            marked: None,
            gave_way: false,
            said: None,
            mark: Watermark::default(),
        }
    }
}

impl Clock {
    /// The believed time.
    pub(crate) fn time(&self, now: Millis) -> Timestamp {
        at(self.believed, now)
    }

    /// What the machine's clock shows.
    pub(crate) fn shown(&self, now: Millis) -> Timestamp {
        at(self.shown, now)
    }

    /// The time by which statements lapse. It stands behind the believed one while nobody confirms a clock that is ahead of
    /// what was written down: members must not be forgotten before they can be asked.
    pub(crate) fn lapse_time(&self, now: Millis) -> Timestamp {
        at(self.believed.min(self.kept.unwrap_or(self.believed)), now)
    }

    /// Whether what lapsed may be forgotten for good.
    pub(crate) const fn is_firm(&self) -> bool {
        matches!(self.trust, Trust::Firm { .. })
    }

    /// Whether voices are wanted.
    pub(crate) const fn is_doubted(&self) -> bool {
        !matches!(self.trust, Trust::Firm { leapt: None })
    }

    /// Whether nothing was written down that it could be compared with, and nobody confirmed it.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.kept.is_none() && matches!(self.trust, Trust::Loose { .. })
    }

    /// What is said of it.
    pub(crate) fn status(&self, now: Millis) -> ClockStatus {
        ClockStatus {
            shown: at(self.shown, now),
            believed: at(self.believed, now),
            is_confirmed: self.is_firm(),
            said: self.said.map(|said| at(said, now)),
        }
    }

    /// The node starts, and wrote that down before.
    pub(crate) fn start(&mut self, shown: Timestamp, written: WrittenTime, now: Millis) {
        (self.noted, self.marked) = (written.believed, written.shown);
        self.mark = Watermark::new(written.shown.unwrap_or(shown));
        let written = written.believed.map(|time| offset(time, now));
        self.shown = offset(shown, now);
        self.floor = written.unwrap_or(Offset::MIN).max(offset(FLOOR, now));
        self.believed = self.shown.max(self.floor);
        self.kept = written;
        self.trust = match written {
            Some(written) if near(self.shown, written) => Trust::Firm { leapt: None },
            _ => Trust::Loose { since: now },
        };
    }

    /// It is no earlier than that: somebody brought what was made then. Helps a machine that has no clock of its own.
    pub(crate) fn at_least(&mut self, time: Timestamp, now: Millis) {
        let time = offset(time, now);
        if !self.is_firm() && at(self.shown, now) < FLOOR && self.believed < time {
            (self.floor, self.believed) = (time, time);
        }
    }

    /// The machine's clock shows another time.
    pub(crate) fn show(&mut self, shown: Timestamp, now: Millis) {
        self.mark.leap_from(self.shown(now));
        self.shown = offset(shown, now);
    }

    /// Decides what to believe. Returns whether that leapt, or the time by which statements lapse.
    pub(crate) fn decide(&mut self, voices: &[Voice], say: Say, now: Millis) -> bool {
        let before = (self.lapse_time(now), self.believed);
        let chosen = self.choose(voices, say, now);
        let heard = weight(chosen, voices);
        if near(chosen, self.shown) {
            let stands = heard > 0 || voices.is_empty() || say == Say::Own;
            self.follow(heard >= CONFIRMED, stands, now);
        } else {
            self.hold(chosen, heard, now);
        }
        if self.believed < self.floor && !near(self.believed, self.floor) {
            // What was written down gives way.
            self.floor = self.believed;
            self.gave_way = true;
        }
        if weight(self.believed, voices) > 0 || self.is_firm() {
            self.kept = None;
        }
        self.said = self.contradiction(voices);
        let lapse = self.lapse_time(now);
        !near(before.1, self.believed) || lapse.since(before.0) > CLOCK_SKEW
    }

    /// What the machine shows or this node believed: what more voices say, the first of them if none says either. If none
    /// does, and there is reason to doubt both, what is confirmed by others.
    fn choose(&self, voices: &[Voice], say: Say, now: Millis) -> Offset {
        let reaches_floor = self.shown >= self.floor || near(self.shown, self.floor);
        let (first, second) = match self.trust {
            Trust::Firm { .. } => (self.believed, self.shown),
            Trust::Loose { .. } if reaches_floor => (self.shown, self.believed),
            Trust::Loose { .. } => (self.floor, self.shown),
        };
        let is_possible = |time: &Offset| at(*time, now) >= FLOOR;
        let own = if is_possible(&second) && weight(second, voices) > weight(first, voices) {
            second
        } else {
            first
        };
        let is_doubtful = match self.trust {
            Trust::Firm { leapt } => leapt.is_some(),
            Trust::Loose { .. } => self.kept.is_some() || say == Say::Others,
        };
        if weight(own, voices) > 0 || !is_doubtful {
            return own;
        }
        let said =
            most(voices).filter(|said| is_possible(said) && weight(*said, voices) >= CONFIRMED);
        said.unwrap_or(own)
    }

    /// What others say, if nobody says what is believed: where that is confirmed by nobody, or they could confirm theirs.
    fn contradiction(&self, voices: &[Voice]) -> Option<Offset> {
        let said = most(voices).filter(|_| weight(self.believed, voices) == 0);
        said.filter(|said| !self.is_firm() || weight(*said, voices) >= CONFIRMED)
    }

    /// Goes with the machine's clock, which stands if nobody who counts says otherwise.
    fn follow(&mut self, confirmed: bool, stands: bool, now: Millis) {
        let leaps = !near(self.believed, self.shown);
        self.believed = self.shown;
        self.trust = match self.trust {
            _ if confirmed => Trust::Firm { leapt: None },
            Trust::Firm { .. } if !leaps => Trust::Firm { leapt: None },
            Trust::Loose { since } if !leaps && stands && now - since < STOOD => {
                Trust::Loose { since }
            }
            Trust::Loose { .. } if !leaps && stands => Trust::Firm { leapt: None },
            _ => Trust::Loose { since: now },
        };
    }

    /// Believes another time than the machine's clock shows.
    fn hold(&mut self, chosen: Offset, heard: u32, now: Millis) {
        self.believed = chosen;
        self.trust = match self.trust {
            Trust::Loose { since } if heard < CONFIRMED => Trust::Loose { since },
            Trust::Loose { .. } => Trust::Firm { leapt: Some(now) },
            Trust::Firm { leapt } => Trust::Firm {
                leapt: leapt.or(Some(now)),
            },
        };
        if let Trust::Firm { leapt: Some(since) } = self.trust
            && heard == 0
            && now - since >= STOOD
        {
            self.follow(false, true, now);
        }
    }

    /// Whether the machine's clock went back so far that handshakes of this node's WireGuard keys are refused.
    pub(crate) fn spoils_keys(&self, now: Millis) -> bool {
        self.mark.spoils_keys(self.shown(now), now)
    }

    /// This node has new WireGuard keys.
    pub(crate) fn renewed_keys(&mut self, now: Millis) {
        self.mark.renew(self.shown(now), now);
        self.marked = None;
    }

    /// What is to be written down, if that is due.
    pub(crate) fn take_due(&mut self, now: Millis) -> Option<WrittenTime> {
        let is_due = self.written.is_none_or(|at| now - at >= WRITE_EVERY);
        let is_believed = self.gave_way || self.is_firm() && is_due;
        if is_believed {
            self.written = Some(now);
            self.gave_way = false;
            self.noted = Some(self.time(now));
        }
        let least = if is_believed {
            Duration::ZERO
        } else {
            WRITE_EVERY
        };
        self.take_mark(least, now)
    }

    /// What is to be written down at the start.
    pub(crate) fn take_first(&mut self, now: Millis) -> Option<WrittenTime> {
        self.take_mark(Duration::MAX, now)
    }

    /// What is to be written down at the end: not for what needs no other keys, so that a server which was started in
    /// vain leaves the home as it was.
    pub(crate) fn take_last(&mut self, now: Millis) -> Option<WrittenTime> {
        self.take_mark(LEEWAY, now)
    }

    /// What is to be written down if what the clock has shown is not, or that is at least so far behind.
    fn take_mark(&mut self, least: Duration, now: Millis) -> Option<WrittenTime> {
        let latest = self.mark.latest(self.shown(now));
        let is_due = self
            .marked
            .is_none_or(|marked| latest.since(marked) >= least);
        is_due.then(|| {
            self.marked = Some(latest);
            WrittenTime {
                believed: self.noted,
                shown: self.marked,
            }
        })
    }
}

/// How far a time is ahead of what timers count.
pub(crate) fn offset(time: Timestamp, now: Millis) -> Offset {
    let [time, now] = [time, now.timestamp()].map(|time| i64::try_from(time.0).unwrap_or(i64::MAX));
    time.saturating_sub(now)
}

fn at(offset: Offset, now: Millis) -> Timestamp {
    Timestamp(now.timestamp().0.saturating_add_signed(offset))
}

fn near(one: Offset, other: Offset) -> bool {
    one.abs_diff(other) <= CLOCK_SKEW.as_secs()
}

/// The time that most voices are for.
fn most(voices: &[Voice]) -> Option<Offset> {
    let said = voices.iter().map(|voice| voice.offset);
    said.max_by_key(|time| weight(*time, voices))
}

/// The weight of the voices for a time.
fn weight(time: Offset, voices: &[Voice]) -> u32 {
    let with = voices.iter().filter(|voice| near(voice.offset, time));
    with.map(|voice| voice.weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Offset = 3600;
    const YEAR: Offset = 365 * 24 * HOUR;
    const BOOT: Millis = Millis(1_900_000_000_000);

    /// The time, as far ahead of what timers count at the start.
    fn time(ahead: Offset) -> Timestamp {
        at(ahead, BOOT)
    }

    fn started(shown: Offset, written: Option<Offset>) -> Clock {
        let mut clock = Clock::default();
        let written = WrittenTime {
            believed: written.map(time),
            shown: None,
        };
        clock.start(time(shown), written, BOOT);
        clock
    }

    fn lines(offsets: &[Offset]) -> Vec<Voice> {
        offsets.iter().copied().map(Voice::of_line).collect()
    }

    /// What is believed once those were heard, a while after the start.
    fn after(clock: &mut Clock, voices: &[Voice], span: Duration) -> (Offset, bool) {
        clock.decide(voices, Say::Others, BOOT + span);
        (clock.believed, clock.is_firm())
    }

    fn soon(clock: &mut Clock, voices: &[Voice]) -> (Offset, bool) {
        after(clock, voices, Duration::from_secs(1))
    }

    #[test]
    fn a_clock_that_nobody_confirms_is_run_on_and_believed_after_a_day() {
        let mut clock = started(0, None);
        assert_eq!(soon(&mut clock, &[]), (0, false));
        assert_eq!(soon(&mut clock, &lines(&[0])), (0, false));
        let almost = STOOD.saturating_sub(Duration::from_secs(1));
        assert_eq!(after(&mut clock, &[], almost), (0, false));
        assert_eq!(after(&mut clock, &[], STOOD), (0, true));
        // It went on where it stopped.
        assert!(started(3, Some(0)).is_firm());
        let lapses = |clock: &Clock| clock.lapse_time(BOOT);
        let mut clock = started(HOUR, Some(0));
        assert_eq!((clock.time(BOOT), lapses(&clock)), (time(HOUR), time(0)));
        clock.decide(&lines(&[HOUR]), Say::Others, BOOT);
        assert_eq!(lapses(&clock), time(HOUR));
        assert!(!started(HOUR, Some(0)).is_firm());
    }

    #[test]
    fn two_lines_or_an_owner_confirm_it() {
        assert_eq!(soon(&mut started(0, None), &lines(&[0, 9])), (0, true));
        let owner = [Voice::of_owner(9)];
        assert_eq!(soon(&mut started(0, None), &owner), (0, true));
        assert_eq!(soon(&mut started(0, None), &lines(&[0, HOUR])), (0, false));
    }

    #[test]
    fn a_clock_that_is_wrong_at_the_start_is_outvoted_by_two() {
        for wrong in [YEAR, -HOUR, HOUR] {
            let mut clock = started(wrong, Some(-2 * HOUR));
            for nobody in [&[][..], &lines(&[0]), &lines(&[-YEAR])] {
                assert_eq!(soon(&mut clock, nobody), (wrong, false));
            }
            assert_eq!(soon(&mut clock, &lines(&[0, 0])), (0, true));
            // Corrected, or gone again: it stays with the right one.
            assert_eq!(soon(&mut clock, &[]), (0, true));
            clock.show(time(1), BOOT);
            assert_eq!(soon(&mut clock, &[]), (1, true));
            assert!(!clock.is_doubted());
        }
        // If one says what it shows, others do not move it.
        let mut clock = started(0, Some(-2 * HOUR));
        assert_eq!(soon(&mut clock, &lines(&[0, YEAR, YEAR])), (0, false));
        // Once nobody does, they do.
        assert_eq!(soon(&mut clock, &lines(&[YEAR, YEAR])), (YEAR, true));
    }

    #[test]
    fn a_clock_of_which_nothing_was_written_down_yields_as_well() {
        for wrong in [YEAR, 2 * HOUR, -HOUR] {
            for right in [lines(&[0, 0]), vec![Voice::of_owner(0)]] {
                let mut clock = started(wrong, None);
                // One line does not move it, and does not let it stand either.
                assert_eq!(after(&mut clock, &lines(&[0]), 2 * STOOD), (wrong, false));
                assert_eq!(clock.status(BOOT).said, Some(time(0)));
                assert_eq!(soon(&mut clock, &right), (0, true));
                assert_eq!(clock.status(BOOT).said, None);
            }
        }
        // An owner's goes with nobody whom it let in, and says so.
        let mut clock = started(0, None);
        clock.decide(&lines(&[HOUR, HOUR]), Say::Own, BOOT);
        assert_eq!((clock.believed, clock.said), (0, Some(HOUR)));
        // Nor does one that stood for a day.
        let mut clock = started(HOUR, None);
        assert_eq!(after(&mut clock, &[], STOOD), (HOUR, true));
        clock.decide(&[Voice::of_owner(0)], Say::Others, BOOT + STOOD);
        assert_eq!((clock.believed, clock.said), (HOUR, Some(0)));
    }

    #[test]
    fn what_somebody_brings_dates_a_machine_without_a_clock() {
        let since_1970 = -1_900_000_000;
        let mut clock = started(since_1970, None);
        clock.at_least(time(0), BOOT);
        assert_eq!(soon(&mut clock, &[]), (0, false));
        assert_eq!(soon(&mut clock, &lines(&[HOUR, HOUR])), (HOUR, true));
        // Not one that has a clock.
        let mut clock = started(-HOUR, None);
        clock.at_least(time(0), BOOT);
        assert_eq!(clock.believed, -HOUR);
    }

    #[test]
    fn a_clock_behind_what_was_believed_is_not_run_on() {
        let mut clock = started(-YEAR, Some(-HOUR));
        assert_eq!(soon(&mut clock, &[]), (-HOUR, false));
        clock.show(time(0), BOOT);
        assert_eq!(soon(&mut clock, &[]), (0, false));
        // Nor one that is older than this program.
        let clock = started(-1_900_000_000, None);
        assert_eq!(clock.time(BOOT), FLOOR);
    }

    #[test]
    fn a_leap_needs_voices() {
        for leap in [YEAR, -YEAR, HOUR, -HOUR] {
            let mut clock = started(0, Some(0));
            clock.show(time(leap), BOOT);
            assert_eq!(soon(&mut clock, &[]), (0, true));
            assert_eq!(soon(&mut clock, &lines(&[0, leap])), (0, true));
            assert!(clock.is_doubted());
            assert_eq!(soon(&mut clock, &lines(&[0, 0, leap])), (0, true));
            // One that nobody contradicts moves it, and confirms nothing.
            assert_eq!(soon(&mut clock, &lines(&[leap])), (leap, false));
            assert_eq!(soon(&mut clock, &lines(&[leap, leap])), (leap, true));
        }
    }

    #[test]
    fn others_move_no_clock_that_did_not_leap() {
        let mut clock = started(0, Some(0));
        let all = [Voice::of_owner(YEAR), Voice::of_owner(YEAR)];
        assert_eq!(soon(&mut clock, &all), (0, true));
        // By small steps, it is followed.
        for step in 1..=10 {
            clock.show(time(step * 200), BOOT);
            assert_eq!(soon(&mut clock, &[]), (step * 200, true));
        }
    }

    #[test]
    fn a_leap_that_stands_for_a_day_is_run_on_where_nobody_is_heard() {
        let mut clock = started(0, Some(0));
        clock.show(time(HOUR), BOOT);
        assert_eq!(after(&mut clock, &[], Duration::ZERO), (0, true));
        assert_eq!(after(&mut clock, &lines(&[0]), 2 * STOOD), (0, true));
        assert_eq!(after(&mut clock, &[], 2 * STOOD), (HOUR, false));
    }

    /// Also if nobody has looked at the clock since it was right.
    #[test]
    fn a_clock_that_goes_back_spoils_keys_by_what_it_showed_at_that_moment() {
        let mut clock = started(0, None);
        let now = BOOT + Duration::from_secs(3600);
        clock.show(time(HOUR - 31), now);
        assert!(clock.spoils_keys(now));
        assert_eq!(clock.take_last(now).unwrap().shown, Some(time(HOUR)));
        clock.renewed_keys(now);
        assert!(!clock.spoils_keys(now));
        let later = now + Duration::from_secs(10);
        assert_eq!(clock.take_last(later).unwrap().shown, Some(time(HOUR - 21)));
    }

    /// Commands that come to nothing change nothing on disk, whenever they are run.
    #[test]
    fn what_the_clock_shows_is_written_at_first_and_then_seldom() {
        let mut clock = started(0, None);
        assert_eq!(clock.take_first(BOOT).unwrap().shown, Some(time(0)));
        let after = |seconds| BOOT + Duration::from_secs(seconds);
        assert_eq!(clock.take_first(after(1)), None);
        assert_eq!(clock.take_due(after(599)), None);
        assert_eq!(clock.take_due(after(600)).unwrap().shown, Some(time(600)));
        assert_eq!(clock.take_last(after(629)), None);
        assert_eq!(clock.take_last(after(630)).unwrap().shown, Some(time(630)));
    }

    #[test]
    fn what_was_written_down_gives_way() {
        let mut clock = started(0, Some(YEAR));
        assert_eq!(soon(&mut clock, &[]), (YEAR, false));
        assert_eq!(clock.take_due(BOOT).unwrap().believed, Some(time(YEAR)));
        assert_eq!(soon(&mut clock, &lines(&[0])), (0, false));
        assert_eq!(clock.take_due(BOOT).unwrap().believed, Some(time(0)));
        // Also when that member is gone again.
        assert_eq!(soon(&mut clock, &[]), (0, false));
    }

    #[test]
    fn no_time_is_beyond_what_can_be_counted() {
        for said in [0, u64::MAX] {
            let offset = offset(Timestamp(said), BOOT);
            let mut clock = started(0, None);
            clock.decide(&lines(&[offset, offset]), Say::Others, BOOT);
            let other = Some(Timestamp(u64::MAX - said));
            let written = WrittenTime {
                believed: other,
                shown: other,
            };
            clock.start(Timestamp(said), written, BOOT);
            clock.show(Timestamp(said), Millis(u64::MAX));
            clock.spoils_keys(Millis(u64::MAX));
            clock.decide(
                &lines(&[offset, Offset::MIN, Offset::MAX]),
                Say::Others,
                Millis(u64::MAX),
            );
            let _ = clock.status(BOOT);
        }
    }
}
