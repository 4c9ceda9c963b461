//! Numbered requests to a worker, and how many of them it has answered.

#[derive(Clone, Copy, Debug)]
pub struct RequestCounter {
    made: u64,
    answered: u64,
}

impl RequestCounter {
    pub const NONE: RequestCounter = RequestCounter {
        made: 0,
        answered: 0,
    };

    /// Makes a request, and returns its number.
    pub fn make(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The number of the last request; 0 if there was none.
    pub fn last(&self) -> u64 {
        self.made
    }

    /// Whether a request waits for an answer.
    pub fn is_open(&self) -> bool {
        self.made > self.answered
    }

    pub fn is_answered(&self, number: u64) -> bool {
        self.answered >= number
    }

    /// Answers the requests up to that number, as far as they have been made.
    pub fn answer(&mut self, last: u64) {
        self.answered = self.answered.max(last.min(self.made));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_made_meanwhile_stay_open() {
        let mut requests = RequestCounter::NONE;
        assert!(!requests.is_open() && requests.is_answered(0));
        assert_eq!(requests.make(), 1);
        let begun = requests.last();
        assert_eq!(requests.make(), 2);
        requests.answer(begun);
        assert!(requests.is_answered(1) && !requests.is_answered(2) && requests.is_open());
        // Neither an earlier answer nor one for requests that nobody has made changes that.
        requests.answer(0);
        assert!(requests.is_answered(1));
        requests.answer(9);
        assert!(!requests.is_open());
        assert_eq!(requests.make(), 3);
        assert!(requests.is_open() && !requests.is_answered(3));
    }
}
