//! podsource
