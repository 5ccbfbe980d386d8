//! Values by number: a number is given out on insertion and used again after removal.

/// The number of a value in a [`Slab`].
pub(super) type Index = u32;

/// A table whose places are used again.
#[derive(Clone)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<Index>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts a value into a free place. The limits of the tree keep the numbers far from their end.
    pub(super) fn insert(&mut self, value: T) -> Index {
        if let Some(index) = self.free.pop() {
            if let Some(place) = self.places.get_mut(index as usize) {
                *place = Some(value);
            }
            return index;
        }
        self.places.push(Some(value));
        Index::try_from(self.places.len() - 1).unwrap_or(Index::MAX)
    }

    pub(super) fn get(&self, index: Index) -> Option<&T> {
        self.places.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: Index) -> Option<T> {
        let value = self.places.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(value)
    }

    /// How many values there are.
    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The values with their numbers, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(index, place)| Some((index, place.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_after_its_value_is_gone() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((slab.remove(a), slab.remove(a)), (Some('a'), None));
        assert_eq!(
            (slab.len(), slab.get(a), slab.get(b)),
            (1, None, Some(&'b'))
        );
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(0, &'c'), (1, &'b')]);
    }
}
