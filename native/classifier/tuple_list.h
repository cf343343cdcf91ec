// TupleList: the subtables of a port in the form and order in which lookups go through them.
//
// A lookup asks every subtable up to the one that has its flow, and all of them if none has: what
// one question costs decides how many masks a port can bear. So what the questions have in common
// is done once, at their start: the words that any mask looks at are gathered from the key, and
// those that all masks mask alike (the port, nearly always the EtherType, often an address) are
// hashed (tuple_hash.h). What remains for each subtable is to mask and hash the few words in which
// masks vary, and a look into its filter (flow_buckets.h). The varying words' masks stand one after
// the other, a few lanes side by side for vector units, and the buckets' addresses beside them: a
// port with hundreds of masks is asked without leaving the first caches of a core.
//
// A batch of keys goes through in rounds, so that the buckets and flows for all of them are on
// their way at once.
//
// A list can be appended to while readers walk it. It is never changed otherwise: the place of a
// subtable that is gone stays, and holds nothing. For another order, more words, or more room,
// there is another list. Writers hold the flow mutex; readers are online (base/qsbr.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "classifier/subtable.h"

namespace pollux {

class TupleList {
 public:
  // There are no more tuples: a place behind the last.
  static constexpr std::size_t kEnd = SIZE_MAX;

  // --- Writers.

  // What seeks: any machine's code, or AVX2 and BMI2, if this machine has them.
  enum class Units : std::uint8_t { kPlain, kAvx2 };
  static Units BestUnits();
  // Notes their places in the subtables.
  explicit TupleList(const std::vector<Subtable*>& subtables, Units units = BestUnits());
  TupleList(const TupleList&) = delete;
  TupleList& operator=(const TupleList&) = delete;

  // Places, taken or left.
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  // False: there must be another list.
  bool Append(Subtable* subtable);
  // After its buckets became others; the answer is the old ones.
  Unpublished<FlowBuckets> Renew(const Subtable& subtable);
  Unpublished<FlowBuckets> Remove(const Subtable& subtable);

  // --- Readers.

  // Up to so many words in which masks vary, seeking has code of its own.
  static constexpr std::size_t kFewVarying = 4;
  // A key, as far as this list's masks look at it, and where the search for its flow is.
  struct alignas(64) Query {
    std::size_t place;    // A subtable that may hold the flow, or kEnd.
    FlowBuckets buckets;  // That subtable's.
    std::uint32_t hash;   // Under that subtable's mask.
    std::uint64_t sum;    // Of the hash terms of the words that all masks mask alike.
    std::array<std::uint64_t, kFewVarying> varying;  // The others, if they are few.
    PackedWords words;                               // All of the list's.
  };
  void Start(const Miniflow& key, Query& query) const { start_(*this, key, query); }
  // Sets the query's state to the first place from `from` on whose subtable may hold its flow.
  void Seek(Query& query, std::size_t from) const { seek_(*this, query, from); }
  // The flow in the subtable where the query is.
  Megaflow* Find(const Query& query) const { return find_(*this, query); }
  // Only of a place where something is.
  const Subtable& At(std::size_t place) const { return *tuples_[place].subtable; }
  // Calls `each(subtable, buckets, hit)` for each subtable there is until one has the flow, which
  // it returns. For those who want to know.
  template <typename Each>
  Megaflow* Walk(const Miniflow& key, Each each) const {
    Query query;
    Start(key, query);
    Seek(query, 0);
    for (std::size_t place = 0; place < size_.load(std::memory_order_acquire); ++place) {
      const FlowBuckets buckets = buckets_[place].Get();
      if (buckets == FlowBuckets()) continue;
      Megaflow* flow = nullptr;
      if (query.place == place) {
        flow = Find(query);
        Seek(query, place + 1);
      }
      each(At(place), buckets, flow != nullptr);
      if (flow != nullptr) return flow;
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kLanes = 4;

  struct Tuple {
    Subtable* subtable = nullptr;
    const PackedMask* mask = nullptr;
  };

  // Each for a number of words known to the compiler, or any.
  using StartFunction = void (*)(const TupleList&, const Miniflow&, Query&);
  using FindFunction = Megaflow* (*)(const TupleList&, const Query&);
  using SeekFunction = void (*)(const TupleList&, Query&, std::size_t);
  template <std::size_t kWords>
  static void StartAs(const TupleList& list, const Miniflow& key, Query& query);
  static void StartAny(const TupleList& list, const Miniflow& key, Query& query);
  template <std::size_t kWords>
  static Megaflow* FindAs(const TupleList& list, const Query& query);
  template <std::size_t kVarying>
  static void SeekAs(const TupleList& list, Query& query, std::size_t from);
  template <std::size_t kVarying>
  static void SeekAvx2(const TupleList& list, Query& query, std::size_t from);
  void ChooseFunctions(Units units);

  void NoteWords(const std::vector<Subtable*>& subtables);
  bool Covers(const PackedMask& mask) const;
  void PickVarying(Query& query) const {
    if (varying_ == 0 || varying_ > kFewVarying) return;
    for (std::size_t i = 0; i < kFewVarying; ++i) query.varying[i] = query.words[varying_words_[i]];
  }
  // The query is here, if its flow may be.
  bool Stop(Query& query, std::size_t place, std::uint32_t hash) const {
    const FlowBuckets buckets = buckets_[place].Get();
    if (!buckets.MayHold(hash)) [[likely]]
      return false;
    query.place = place;
    query.hash = hash;
    query.buckets = buckets;
    return true;
  }

  std::size_t capacity_ = 0;
  std::atomic<std::size_t> size_{0};

  // The words that masks look at, in their order in a Flow; and those in which masks vary, as
  // indices of the former.
  std::size_t words_ = 0;
  std::size_t varying_ = 0;
  std::array<std::uint8_t, kFlowWords> places_{};
  PackedWords common_{};  // What all masks say of a word; of one in which they vary, zero.
  std::array<WordSecret, kFlowWords> secrets_{};
  std::array<std::uint8_t, kFlowWords> varying_words_{};
  std::array<WordSecret, kFlowWords> varying_secrets_{};
  std::uint64_t excess_ = 0;

  StartFunction start_ = nullptr;
  FindFunction find_ = nullptr;
  SeekFunction seek_ = nullptr;
  std::unique_ptr<std::uint64_t[]> masks_;  // Of the varying words: kLanes subtables, word by word.
  std::unique_ptr<Published<FlowBuckets>[]> buckets_;
  std::unique_ptr<Tuple[]> tuples_;
  std::unique_ptr<std::uint8_t[]> where_;  // By tuple: of each word of its mask, which of ours.
};

}  // namespace pollux
