#include "classifier/tuple_list.h"

#include <algorithm>
#include <bit>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace pollux {
namespace {

constexpr std::size_t kFirstCapacity = 4;
// Up to so many words have code of their own.
constexpr std::size_t kFewWords = 8;
constexpr std::size_t kAnyNumber = SIZE_MAX;

}  // namespace

// ------------------------------------------------------------------ writers

TupleList::TupleList(const std::vector<Subtable*>& subtables, Units units)
    : capacity_(std::max(kFirstCapacity, (2 * subtables.size() + kLanes - 1) / kLanes * kLanes)) {
  NoteWords(subtables);
  ChooseFunctions(units);
  masks_ = std::make_unique<std::uint64_t[]>(capacity_ * varying_);
  buckets_ = std::make_unique<Published<FlowBuckets>[]>(capacity_);
  tuples_ = std::make_unique<Tuple[]>(capacity_);
  where_ = std::make_unique<std::uint8_t[]>(capacity_ * words_);
  for (Subtable* subtable : subtables) POLLUX_CHECK(Append(subtable));
}

void TupleList::NoteWords(const std::vector<Subtable*>& subtables) {
  FlowWords first{}, any{}, unlike{};
  for (const Subtable* subtable : subtables) {
    const FlowWords words = ToWords(subtable->mask()->Unpack());
    if (subtable == subtables.front()) first = words;
    for (std::size_t i = 0; i < kFlowWords; ++i) {
      any[i] |= words[i];
      unlike[i] |= words[i] ^ first[i];
    }
  }
  for (std::size_t i = 0; i < kFlowWords; ++i) {
    if (any[i] == 0) continue;
    const WordSecret& secret = WordSecrets()[i];
    places_[words_] = static_cast<std::uint8_t>(i);
    secrets_[words_] = secret;
    excess_ += secret.excess();
    if (unlike[i] == 0) {
      common_[words_] = first[i];
    } else {
      // Start() adds one zero too many for it.
      excess_ += secret.excess();
      varying_words_[varying_] = static_cast<std::uint8_t>(words_);
      varying_secrets_[varying_++] = secret;
    }
    ++words_;
  }
}

bool TupleList::Covers(const PackedMask& mask) const {
  const FlowWords words = ToWords(mask.Unpack());
  std::size_t found = 0;
  for (std::size_t i = 0; i < words_; ++i) {
    const std::uint64_t word = words[places_[i]];
    if (common_[i] != 0 && word != common_[i]) return false;
    if (word != 0) ++found;
  }
  return found == mask.size();
}

bool TupleList::Append(Subtable* subtable) {
  const std::size_t place = size_.load(std::memory_order_relaxed);
  const PackedMask& mask = *subtable->mask();
  if (place == capacity_ || !Covers(mask)) return false;
  const FlowWords words = ToWords(mask.Unpack());
  std::uint64_t* masks = &masks_[place / kLanes * kLanes * varying_ + place % kLanes];
  for (std::size_t i = 0; i < varying_; ++i) masks[i * kLanes] = words[places_[varying_words_[i]]];
  for (std::size_t ours = 0, i = 0; ours < words_; ++ours) {
    if (words[places_[ours]] != 0) where_[place * words_ + i++] = static_cast<std::uint8_t>(ours);
  }
  tuples_[place] = {subtable, &mask};
  buckets_[place].Publish(subtable->buckets());
  subtable->place = place;
  size_.store(place + 1, std::memory_order_release);
  return true;
}

Unpublished<FlowBuckets> TupleList::Renew(const Subtable& subtable) {
  return buckets_[subtable.place].Replace(subtable.buckets());
}

Unpublished<FlowBuckets> TupleList::Remove(const Subtable& subtable) {
  return buckets_[subtable.place].Unpublish();
}

// ------------------------------------------------------------------ readers

template <std::size_t kWords>
void TupleList::StartAs(const TupleList& list, const Miniflow& key, Query& query) {
  const std::uint64_t present = key.map.low();
  std::uint64_t sum = -list.excess_;
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << list.places_[i];
    const auto rank = static_cast<std::size_t>(std::popcount(present & (bit - 1)));
    const std::uint64_t word = (present & bit) != 0 ? key.values[rank] : 0;
    query.words[i] = word;
    sum += HashTerm(word & list.common_[i], list.secrets_[i]);
  }
  query.sum = sum;
  list.PickVarying(query);
}

void TupleList::StartAny(const TupleList& list, const Miniflow& key, Query& query) {
  query.sum = -list.excess_;
  for (std::size_t i = 0; i < list.words_; ++i) {
    query.words[i] = key.Word(list.places_[i]);
    query.sum += HashTerm(query.words[i] & list.common_[i], list.secrets_[i]);
  }
  list.PickVarying(query);
}

template <std::size_t kWords>
Megaflow* TupleList::FindAs(const TupleList& list, const Query& query) {
  const PackedMask& mask = *list.tuples_[query.place].mask;
  if (mask.size() == kWords) [[likely]] {
    return query.buckets.Find(query.hash, [&](const Megaflow& flow) {
      static_assert(kWords == kAnyNumber || kWords <= Megaflow::kInlineWords);
      std::uint64_t different = 0;
      for (std::size_t i = 0; i < kWords; ++i)
        different |= flow.inline_key[i] ^ (query.words[i] & mask.word(i));
      return different == 0;
    });
  }
  const std::uint8_t* where = &list.where_[query.place * list.words_];
  return query.buckets.Find(query.hash, [&](const Megaflow& flow) {
    const std::uint64_t* its = flow.packed_key();
    std::uint64_t different = 0;
    for (std::size_t i = 0; i < mask.size(); ++i)
      different |= its[i] ^ (query.words[where[i]] & mask.word(i));
    return different == 0;
  });
}

template <std::size_t kVarying>
void TupleList::SeekAs(const TupleList& list, Query& query, std::size_t from) {
  const std::size_t varying = kVarying == kAnyNumber ? list.varying_ : kVarying;
  const std::size_t size = list.size_.load(std::memory_order_acquire);
  for (std::size_t place = from; place < size; ++place) {
    const std::uint64_t* masks = &list.masks_[place / kLanes * kLanes * varying + place % kLanes];
    std::uint64_t sum = query.sum;
    for (std::size_t i = 0; i < varying; ++i) {
      const std::uint64_t word =
          kVarying == kAnyNumber ? query.words[list.varying_words_[i]] : query.varying[i];
      sum += HashTerm(word & masks[i * kLanes], list.varying_secrets_[i]);
    }
    if (list.Stop(query, place, FinishHash(sum))) return;
  }
  query.place = kEnd;
}

#ifdef __x86_64__

// The same, kLanes places at a time: as many as are whole.
template <std::size_t kVarying>
__attribute__((target("avx2,bmi2"))) void TupleList::SeekAvx2(const TupleList& list, Query& query,
                                                              std::size_t from) {
  static_assert(kLanes * sizeof(std::uint64_t) == sizeof(__m256i));
  const std::size_t whole = list.size_.load(std::memory_order_acquire) / kLanes * kLanes;
  __m256i words[kVarying + 1], secrets[kVarying + 1];
  for (std::size_t i = 0; i < kVarying; ++i) {
    words[i] = _mm256_set1_epi64x(static_cast<long long>(query.varying[i]));
    secrets[i] = _mm256_set1_epi64x(std::bit_cast<long long>(list.varying_secrets_[i]));
  }
  const __m256i factor = _mm256_set1_epi64x(kHashFactor);
  const __m256i start = _mm256_set1_epi64x(static_cast<long long>(query.sum));
  std::size_t place = from;
  while (place < whole) {
    const std::size_t first = place / kLanes * kLanes;
    const std::uint64_t* masks = &list.masks_[first * kVarying];
    __m256i sum = start;
    for (std::size_t i = 0; i < kVarying; ++i) {
      const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + i * kLanes));
      const __m256i halves = _mm256_add_epi32(_mm256_and_si256(words[i], mask), secrets[i]);
      sum = _mm256_add_epi64(sum, _mm256_mul_epu32(halves, _mm256_srli_epi64(halves, 32)));
    }
    const __m256i mixed =
        _mm256_mul_epu32(_mm256_xor_si256(sum, _mm256_srli_epi64(sum, 32)), factor);
    alignas(32) std::array<std::uint64_t, kLanes> hashes;
    _mm256_store_si256(reinterpret_cast<__m256i*>(hashes.data()),
                       _mm256_xor_si256(mixed, _mm256_srli_epi64(mixed, 32)));
    for (; place < first + kLanes; ++place) {
      if (list.Stop(query, place, static_cast<std::uint32_t>(hashes[place - first]))) return;
    }
  }
  SeekAs<kVarying>(list, query, place);
}

TupleList::Units TupleList::BestUnits() {
  static const bool kHas = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  return kHas ? Units::kAvx2 : Units::kPlain;
}

#else

template <std::size_t kVarying>
void TupleList::SeekAvx2(const TupleList& list, Query& query, std::size_t from) {
  SeekAs<kVarying>(list, query, from);
}

TupleList::Units TupleList::BestUnits() { return Units::kPlain; }

#endif

void TupleList::ChooseFunctions(Units units) {
  using StartAndFind = std::pair<StartFunction, FindFunction>;
  static constexpr auto kByWords = []<std::size_t... kWords>(std::index_sequence<kWords...>) {
    return std::array{StartAndFind(&StartAs<kWords>, &FindAs<kWords>)...};
  }
  (std::make_index_sequence<kFewWords + 1>());
  using Seeks = std::array<SeekFunction, 2>;
  static constexpr auto kByVarying = []<std::size_t... kVarying>(std::index_sequence<kVarying...>) {
    // One mask alone has nothing side by side.
    return std::array{
        Seeks{&SeekAs<kVarying>, kVarying == 0 ? &SeekAs<0> : &SeekAvx2<kVarying>}...};
  }
  (std::make_index_sequence<kFewVarying + 1>());
  const bool few = words_ <= kFewWords && (words_ == 0 || places_[words_ - 1] < 64);
  start_ = few ? kByWords[words_].first : &StartAny;
  find_ = few ? kByWords[words_].second : &FindAs<kAnyNumber>;
  seek_ = varying_ <= kFewVarying ? kByVarying[varying_][static_cast<std::size_t>(units)]
                                  : &SeekAs<kAnyNumber>;
}

}  // namespace pollux
