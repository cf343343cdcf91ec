// Changes as records: shapes and texts that were learnt mean what the decoder says, whatever their
// values; and records that do not add up are refused.
#include "changes/change_reader.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <span>
#include <string>

#include "attribute_builder.h"
#include "changes/free_fields.h"
#include "changes/verdict_reader.h"
#include "classifier/flow_table.h"
#include "random_match.h"

TEST_SUITE_BEGIN("computing");

namespace pollux {
namespace {

using test::A;
using test::Blob;
using test::Loosened;
using test::Random;
using test::RandomKey;
using Header = ChangeHeader;

// Other values in all free fields; sometimes an in_port that is none.
void ChangeFreeFields(Blob& key, Random& random) {
  ForEachFreeField(key, [&](const FreeField& field, std::size_t at) {
    for (std::size_t i = 0; i < field.size; ++i) key[at + i] = static_cast<std::uint8_t>(random());
    if (field.attribute == OVS_KEY_ATTR_IN_PORT && random() % 8 != 0) key[at + 2] = key[at + 3] = 0;
  });
}

void CheckPacked(const Status& status, const MatchShapes::Packed& packed, Bytes key, Bytes mask) {
  const Result<Match> expected = DecodeMatch(key, mask);
  REQUIRE(status.ok() == expected.ok());
  if (!status.ok()) {
    CHECK(status.error().message == expected.error().message);
    return;
  }
  REQUIRE(*packed.mask == PackedMask(expected.value().mask));
  PackedWords words;
  packed.mask->Pack(expected.value().key, words.data());
  REQUIRE(std::equal(words.begin(), words.begin() + packed.mask->size(), packed.key.begin()));
}

struct Records {
  std::vector<Header> headers;
  Blob payload;
  std::string texts;

  Header& Add(std::uint32_t flags, Bytes key, Bytes mask, Bytes actions = {}) {
    Header header{};
    header.flags = flags;
    header.key_at = static_cast<std::uint32_t>(payload.size());
    header.key_size = static_cast<std::uint32_t>(key.size());
    header.mask_size = static_cast<std::uint32_t>(mask.size());
    payload.insert(payload.end(), key.begin(), key.end());
    payload.insert(payload.end(), mask.begin(), mask.end());
    header.actions_at = static_cast<std::uint32_t>(payload.size());
    header.actions_size = static_cast<std::uint32_t>(actions.size());
    payload.insert(payload.end(), actions.begin(), actions.end());
    headers.push_back(header);
    return headers.back();
  }
  void AddText(std::uint32_t flags, const std::string& text) {
    Header& header = Add(flags | ChangeHeader::kText, {}, {});
    header.key_at = static_cast<std::uint32_t>(texts.size());
    header.key_size = static_cast<std::uint32_t>(text.size());
    texts += text;
  }
  ChangeRecords bytes() const {
    const auto raw = [](const auto& list) {
      return Bytes(reinterpret_cast<const std::uint8_t*>(list.data()),
                   list.size() * sizeof list[0]);
    };
    return {raw(headers), payload, raw(texts)};
  }
};

Blob Output(std::uint32_t port) {
  Blob actions;
  AppendValue(actions, OVS_ACTION_ATTR_OUTPUT, port);
  return actions;
}

}  // namespace

TEST_CASE("match shapes: packed as the decoder packs, for random matches and values") {
  Random random(11);
  PacketPool pool(std::size_t{16} << 20);
  MatchShapes shapes;
  MatchShapes::Packed packed;
  std::size_t of_shape = 0;
  for (int round = 0; round < 10'000; ++round) {
    const Flow flow = RandomKey(random, pool);
    const FlowMask loose = Loosened(flow, random);
    const bool exact = round % 8 == 0;
    Blob key = exact ? EncodeKey(flow) : EncodeKey(flow, &loose);
    const Blob mask = exact ? Blob() : EncodeMask(flow, loose);
    for (int i = 0; i < 6; ++i) {
      const Status status = shapes.Pack(key, mask, packed);
      CheckPacked(status, packed, key, mask);
      of_shape += packed.shape != 0 ? 1u : 0u;
      ChangeFreeFields(key, random);
    }
  }
  CHECK(of_shape > 50'000);
}

TEST_CASE("match shapes: damaged keys and masks get the decoder's answer") {
  Random random(12);
  PacketPool pool(std::size_t{16} << 20);
  MatchShapes shapes;
  MatchShapes::Packed packed;
  std::size_t refused = 0;
  for (int round = 0; round < 5'000; ++round) {
    const Flow flow = RandomKey(random, pool);
    const FlowMask loose = Loosened(flow, random);
    const Blob whole_key = EncodeKey(flow, &loose);
    const Blob whole_mask = EncodeMask(flow, loose);
    REQUIRE(shapes.Pack(whole_key, whole_mask, packed).ok());
    for (int i = 0; i < 6; ++i) {
      Blob key = whole_key;
      Blob mask = whole_mask;
      Blob& damaged = random() % 3 == 0 ? mask : key;
      if (random() % 4 == 0) {
        damaged.resize(random() % (damaged.size() + 8));
      } else {
        damaged[random() % damaged.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
      }
      const Status status = shapes.Pack(key, mask, packed);
      refused += status.ok() ? 0u : 1u;
      CheckPacked(status, packed, key, mask);
    }
  }
  CHECK(refused > 1'000);
}

TEST_CASE("match texts: what differs in values alone is read, all else is not") {
  MatchTexts texts;
  A key;
  key.Port(3).Type(0x0800).Ipv4(17).Pair(OVS_KEY_ATTR_UDP, 1024, 9);
  const Blob bytes = key.blob();
  const std::string text =
      "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=0x400)";
  const auto value = [&](const char* what, const char* behind, std::uint32_t at,
                         MatchTexts::Kind kind, std::uint8_t size, std::uint32_t max) {
    const auto start = static_cast<std::uint32_t>(text.find(what) + std::strlen(what));
    return MatchTexts::Value{
        start, static_cast<std::uint32_t>(text.find(behind, start)), at, kind, size, max};
  };
  const Blob mask(bytes.size(), 0xff);
  using Kind = MatchTexts::Kind;
  texts.Learn(text,
              {value("in_port(", ")", 4, Kind::kNumberLittle, 4, 65'535),
               value("eth_type(", ")", 12, Kind::kNumber, 2, 65'535),
               value("ipv4(src=", "/", 20, Kind::kIpv4, 4, 0),
               value("proto=", ")", 28, Kind::kNumber, 1, 255),
               value("udp(src=", ")", 36, Kind::kNumber, 2, 65'535)},
              bytes, mask);
  REQUIRE(texts.Find(text).has_value());
  CHECK(std::ranges::equal(texts.Find(text)->mask, mask));

  const auto other =
      texts.Find("in_port(65535),eth_type(0x0800),ipv4(src=1.20.255.0/8,proto=17),udp(src=9)");
  REQUIRE(other.has_value());
  Blob expected = bytes;
  expected[4] = expected[5] = 0xff;
  const Blob tail = {1, 20, 255, 0};
  std::copy(tail.begin(), tail.end(), expected.begin() + 20);
  CHECK(other->key[36] == 0);
  CHECK(other->key[37] == 9);
  expected[36] = 0, expected[37] = 9;
  CHECK(std::ranges::equal(other->key, expected));

  for (const char* not_read : {
           "",
           "in_port(3)",
           "in_port(65536),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9)",
           "in_port(03),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9)",
           "in_port(),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9)",
           "in_port(-1),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0806),ipv4(src=10.0.0.1/8,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/9,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.256/8,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.01/8,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.01/8,proto=17),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=6),udp(src=9)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=0x)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=0x10000)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=65536)",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/8,proto=17),udp(src=9) ",
           "in_port(3),eth_type(0x0800),ipv4(src=10.0.0.1/"
           "8,proto=17),udp(src=99999999999999999999)",
       }) {
    CAPTURE(not_read);
    CHECK_FALSE(texts.Find(not_read).has_value());
  }
}

TEST_CASE("match texts: one text may begin as another ends, and many may be known") {
  MatchTexts texts;
  A key;
  key.Port(1);
  const Blob bytes = key.blob();
  const auto learn = [&](const std::string& text) {
    const auto start = static_cast<std::uint32_t>(text.find('(') + 1);
    const auto end = static_cast<std::uint32_t>(text.find(')'));
    texts.Learn(text, {{start, end, 4, MatchTexts::Kind::kNumberLittle, 4, 65'535}}, bytes, bytes);
  };
  learn("in_port(1)");
  learn("in_port(1),eth()");
  learn("in_port(1),eth(),");
  for (const char* text : {"in_port(7)", "in_port(7),eth()", "in_port(7),eth(),"}) {
    REQUIRE(texts.Find(text).has_value());
    CHECK(texts.Find(text)->key[4] == 7);
  }
  CHECK_FALSE(texts.Find("in_port(7),").has_value());
  for (int i = 0; i < 3'000; ++i) learn("in_port(1)," + std::to_string(i));
  CHECK(texts.Find("in_port(9),2999").has_value());
}

TEST_CASE("change records: read in order, refused one by one, or not at all") {
  const Clock clock(true);
  FlowTable table(clock, 1'000, 0);
  ChangeReader reader;
  FlowChanges changes;
  std::vector<std::uint32_t> unread;
  constexpr std::uint32_t kPut =
      ChangeHeader::kPut | ChangeHeader::kReplace | ChangeHeader::kCreate;

  Records records;
  A first, second, mask, broken;
  first.Port(1).Type(0x0800), second.Port(2).Type(0x0800), mask.Put(OVS_KEY_ATTR_IN_PORT, ~0u);
  mask.Be16(OVS_KEY_ATTR_ETHERTYPE, 0xffff);
  broken.Type(0x0800);
  records.Add(kPut, first.blob(), mask.blob(), Output(7));
  records.Add(kPut, second.blob(), mask.blob(), Output(7));
  records.Add(kPut, broken.blob(), mask.blob(), Output(7));
  records.Add(kPut, second.blob(), mask.blob(), Output(70'000));
  records.Add(0, first.blob(), mask.blob());
  records.Add(0, first.blob(), mask.blob());
  REQUIRE(reader.Read(records.bytes(), changes, 10, unread));
  REQUIRE(changes.size() == 6);
  // One list of actions serves both, for they are of one shape.
  CHECK(changes[0].actions == changes[1].actions);
  const FlowOutcomes outcomes = table.Apply(changes, false);
  using Kind = FlowOutcomes::Kind;
  std::vector<Kind> kinds;
  for (const auto& one : outcomes.each) kinds.push_back(one.kind);
  CHECK(kinds == std::vector{Kind::kPut, Kind::kPut, Kind::kFailed, Kind::kFailed, Kind::kDeleted,
                             Kind::kNotFound});
  REQUIRE(outcomes.errors.size() == 2);
  CHECK(outcomes.errors[0].message.find("in_port") != std::string::npos);
  CHECK(outcomes.errors[1].message.find("output") != std::string::npos);
  CHECK(table.size() == 1);

  SUBCASE("atomic: the first that is refused undoes those before it") {
    const FlowOutcomes failed = table.Apply(changes, true);
    REQUIRE(failed.each.size() == 1);
    CHECK(failed.errors[0].message == outcomes.errors[0].message);
    CHECK(table.size() == 1);
  }
  SUBCASE("texts that are not known are told of, up to a number") {
    changes.Clear();
    for (int i = 0; i < 5; ++i) records.AddText(kPut, "in_port(" + std::to_string(i) + ")");
    REQUIRE(reader.Read(records.bytes(), changes, 3, unread));
    CHECK(unread == std::vector<std::uint32_t>{6, 7, 8});
  }
  SUBCASE("what points outside of the records is refused") {
    for (std::uint32_t Header::*field : {&Header::key_at, &Header::key_size, &Header::mask_size,
                                         &Header::actions_at, &Header::actions_size}) {
      for (const std::uint32_t value : {std::uint32_t{100'000}, UINT32_MAX}) {
        Records wrong = records;
        wrong.headers[1].*field = value;
        changes.Clear();
        CHECK_FALSE(reader.Read(wrong.bytes(), changes, 10, unread));
      }
    }
    ChangeRecords cut = records.bytes();
    cut.headers = cut.headers.first(cut.headers.size() - 1);
    CHECK_FALSE(reader.Read(cut, changes, 10, unread));
  }
}

TEST_CASE("change records: actions are checked against each shape") {
  ChangeReader reader;
  FlowChanges changes;
  std::vector<std::uint32_t> unread;
  Blob set;
  {
    Blob ipv4;
    ovs_key_ipv4 value{};
    value.ipv4_dst = ToBe32(0x0a000001);
    ovs_key_ipv4 mask{};
    mask.ipv4_dst = UINT32_MAX;
    Blob both = test::BlobOf(value);
    const Blob mask_bytes = test::BlobOf(mask);
    both.insert(both.end(), mask_bytes.begin(), mask_bytes.end());
    AppendAttribute(ipv4, OVS_KEY_ATTR_IPV4, both);
    AppendAttribute(set, OVS_ACTION_ATTR_SET_MASKED, ipv4);
  }
  A ipv4, ipv6, mask;
  ipv4.Port(1).Type(0x0800), ipv6.Port(1).Type(0x86dd);
  mask.Put(OVS_KEY_ATTR_IN_PORT, ~0u).Be16(OVS_KEY_ATTR_ETHERTYPE, 0xffff);
  Records records;
  for (int i = 0; i < 2; ++i) {
    records.Add(ChangeHeader::kPut, ipv4.blob(), mask.blob(), set);
    records.Add(ChangeHeader::kPut, ipv6.blob(), mask.blob(), set);
  }
  REQUIRE(reader.Read(records.bytes(), changes, 1, unread));
  CHECK(changes[0].kind == PackedChange::Kind::kPut);
  CHECK(changes[1].kind == PackedChange::Kind::kRefused);
  CHECK(changes[2].kind == PackedChange::Kind::kPut);
  CHECK(changes[2].actions == changes[0].actions);
  CHECK(changes[3].kind == PackedChange::Kind::kRefused);
}

TEST_CASE("verdict records: each is of the packet at its place, and none points outside") {
  A key, mask;
  key.Port(1).Type(0x0800), mask.Put(OVS_KEY_ATTR_IN_PORT, ~0u);
  Records records;
  const auto add = [&](std::uint32_t place, std::uint32_t flags) {
    Header& header = records.Add(flags, key.blob(), mask.blob(), Output(place));
    header.timeout_ms = 250;
    std::memcpy(header.ufid.data(), &place, sizeof place);  // VerdictHeader::place
  };
  add(3, VerdictHeader::kInstall | VerdictHeader::kTimeout);
  add(0, 0);
  add(2, VerdictHeader::kInstall | VerdictHeader::kExact);
  std::vector<UpcallVerdict> verdicts(4);
  const ChangeRecords bytes = records.bytes();
  REQUIRE(ReadVerdicts(bytes.headers, bytes.payload, verdicts).ok());
  using Kind = UpcallVerdict::Kind;
  const Kind kinds[] = {Kind::kExecute, Kind::kDrop, Kind::kInstall, Kind::kInstall};
  for (std::uint32_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK(verdicts[i].kind == kinds[i]);
    CHECK(std::ranges::equal(verdicts[i].actions, i == 1 ? Blob{} : Output(i)));
    CHECK(verdicts[i].matches_given == (i == 3));
    CHECK(verdicts[i].idle_timeout_ms.has_value() == (i == 3));
  }
  CHECK(verdicts[3].idle_timeout_ms == 250);
  CHECK(std::ranges::equal(verdicts[3].match_key, key.blob()));
  CHECK(std::ranges::equal(verdicts[3].match_mask, mask.blob()));

  CHECK_FALSE(ReadVerdicts(bytes.headers.first(47), bytes.payload, verdicts).ok());
  CHECK_FALSE(ReadVerdicts(bytes.headers, bytes.payload, std::span(verdicts).first(3)).ok());
  for (std::uint32_t Header::*field : {&Header::key_at, &Header::key_size, &Header::mask_size,
                                       &Header::actions_at, &Header::actions_size}) {
    for (const std::uint32_t value : {std::uint32_t{100'000}, UINT32_MAX}) {
      Records wrong = records;
      wrong.headers[0].*field = value;
      CHECK_FALSE(ReadVerdicts(wrong.bytes().headers, bytes.payload, verdicts).ok());
    }
  }
}

TEST_CASE("the index of ids finds what is in it, and nothing else") {
  FlowSlots slots;
  UfidIndex index(slots);
  Random random(3);
  std::vector<Megaflow*> in;
  std::uint64_t next = 0;
  const auto id = [](std::uint64_t number) {
    return std::bit_cast<Ufid>(std::array<std::uint64_t, 2>{0, number});
  };
  for (int round = 0; round < 100'000; ++round) {
    if (in.empty() || random() % 9 < (round < 60'000 ? 5u : 3u)) {
      Megaflow* flow = slots.Take();
      flow->ufid = id(next++);
      index.Insert(*flow);
      in.push_back(flow);
    } else {
      std::swap(in[random() % in.size()], in.back());
      index.Remove(*in.back());
      REQUIRE(index.Find(in.back()->ufid) == nullptr);
      slots.GiveBack(in.back());
      in.pop_back();
    }
    REQUIRE(index.size() == in.size());
    if (round % 1'000 != 0) continue;
    for (Megaflow* flow : in) REQUIRE(index.Find(flow->ufid) == flow);
    REQUIRE(index.Find(id(next)) == nullptr);
  }
}

}  // namespace pollux

TEST_SUITE_END();
