// FlowChanges: any number of changes to the flow table in one piece, as it takes them: matches
// packed, nothing that must be allocated for each, and the same for what became of them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/result.h"
#include "classifier/megaflow.h"

namespace pollux {

struct PackedChange {
  enum class Kind : std::uint8_t {
    kPut,
    kDelete,
    kRefused,  // It could not be read: it fails when its turn comes.
  };

  Kind kind = Kind::kPut;
  bool has_ufid = false;
  bool replace = true;  // False: EEXIST if the flow is there.
  bool create = true;   // False: ENOENT if it is not.
  // True: where another flow takes the key already, or the table is full, nothing is done and that
  // is no failure. The outcome is kNotFound.
  bool optional = false;
  // Null: a deletion by ufid.
  std::shared_ptr<const PackedMask> mask;
  std::size_t at = 0;  // Of the packed key, or of the error, in FlowChanges.
  std::shared_ptr<const ActionList> actions;
  std::int64_t idle_timeout_ms = Megaflow::kTableTimeout;
  Ufid ufid{};  // Of a put without one it is worked out.
};

class FlowChanges {
 public:
  std::size_t size() const { return changes_.size(); }
  std::size_t capacity() const { return changes_.capacity(); }
  const PackedChange& operator[](std::size_t i) const { return changes_[i]; }
  const std::uint64_t* KeyOf(const PackedChange& change) const { return words_.data() + change.at; }
  const Error& ErrorOf(const PackedChange& change) const { return errors_[change.at]; }

  void Reserve(std::size_t n) { changes_.reserve(n); }
  // `key`: packed under the mask.
  void Add(PackedChange change, const std::uint64_t* key) {
    change.at = words_.size();
    if (change.mask != nullptr) words_.insert(words_.end(), key, key + change.mask->size());
    if (change.kind == PackedChange::Kind::kPut && !change.has_ufid)
      change.ufid = std::bit_cast<Ufid>(change.mask->Id(key));
    changes_.push_back(std::move(change));
  }
  void Refuse(Error error) {
    PackedChange change;
    change.kind = PackedChange::Kind::kRefused;
    change.at = errors_.size();
    changes_.push_back(std::move(change));
    errors_.push_back(std::move(error));
  }
  void Clear() {
    changes_.clear();
    words_.clear();
    errors_.clear();
  }

 private:
  std::vector<PackedChange> changes_;
  std::vector<std::uint64_t> words_;
  std::vector<Error> errors_;
};

// What became of changes, in their order.
struct FlowOutcomes {
  enum class Kind : std::uint8_t { kNotFound, kDeleted, kPut, kFailed };
  struct One {
    Kind kind;
    Ufid ufid;  // kPut
  };

  // A put that was refused because of another flow.
  struct Overlap {
    std::size_t error;   // Which of the errors.
    std::size_t change;  // Which of the changes.
    Match flow;          // The other one.
  };

  std::vector<One> each;
  std::vector<Error> errors;  // Of those that failed.
  std::vector<Overlap> overlaps;

  void Put(const Ufid& ufid) { each.push_back({Kind::kPut, ufid}); }
  void Found(bool found) { each.push_back({found ? Kind::kDeleted : Kind::kNotFound, {}}); }
  void Fail(Error error) {
    each.push_back({Kind::kFailed, {}});
    errors.push_back(std::move(error));
  }
  void FailOverlap(Error error, const Match& flow) {
    overlaps.push_back({errors.size(), each.size(), flow});
    Fail(std::move(error));
  }
};

}  // namespace pollux
