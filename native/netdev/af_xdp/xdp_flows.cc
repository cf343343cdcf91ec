#include "netdev/af_xdp/xdp_flows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "kernel/bpf/bpf.h"
#include "kernel/bpf/bpf_assembler.h"
#include "packet/layers.h"

// Newer than the headers we may be built with.
#ifndef BPF_F_MMAPABLE
#define BPF_F_MMAPABLE (1U << 10)
#endif

namespace pollux {
namespace {

constexpr int kGetProcessor = 8;     // BPF_FUNC_get_smp_processor_id
constexpr int kGetLength = 188;      // BPF_FUNC_xdp_get_buff_len, Linux 5.18
constexpr std::size_t kPage = 4096;  // Or more: what is mapped is rounded up to real ones.

// What the program keeps in registers that calls leave alone.
constexpr unsigned kContext = 6, kData = 7, kProtocol = 8, kLength = 9;
// And below its stack's frame.
constexpr int kKeyAt = -48, kIndexAt = -56, kLineAt = -64, kValueAt = -72;

int MakeMap(bpf_map_type type, std::uint32_t key_size, std::uint32_t value_size,
            std::uint32_t entries, std::uint32_t flags = 0, int inner = -1) {
  bpf_attr attributes = NoBpfAttributes();
  attributes.map_type = type;
  attributes.key_size = key_size;
  attributes.value_size = value_size;
  attributes.max_entries = entries;
  attributes.map_flags = flags;
  if (inner >= 0) attributes.inner_map_fd = static_cast<std::uint32_t>(inner);
  std::memcpy(attributes.map_name, "pollux", sizeof "pollux");
  return Bpf(BPF_MAP_CREATE, attributes);
}

bool Update(int map, const void* key, const void* value) {
  bpf_attr attributes = NoBpfAttributes();
  attributes.map_fd = static_cast<std::uint32_t>(map);
  attributes.key = reinterpret_cast<std::uintptr_t>(key);
  attributes.value = reinterpret_cast<std::uintptr_t>(value);
  return Bpf(BPF_MAP_UPDATE_ELEM, attributes) == 0;
}

void Delete(int map, const void* key) {
  bpf_attr attributes = NoBpfAttributes();
  attributes.map_fd = static_cast<std::uint32_t>(map);
  attributes.key = reinterpret_cast<std::uintptr_t>(key);
  Bpf(BPF_MAP_DELETE_ELEM, attributes);
}

constexpr int kPayload = kShapeL4Offset + static_cast<int>(sizeof(UdpHeader));

// The shape's checksum, as the sender leaves it to the card: that of the pseudo-header. Compares
// with r4, for r3 bytes of layer 4.
std::size_t JumpIfPartial(BpfAssembler& assembler) {
  assembler.Add(kBpfToBigEndian, 3, 0, 0, 16);
  assembler.Add(kBpfLoadWord, 1, kData, 26, 0);
  assembler.Add(kBpfAdd, 3, 1, 0, 0);
  assembler.Add(kBpfLoadWord, 1, kData, 30, 0);
  assembler.Add(kBpfAdd, 3, 1, 0, 0);
  assembler.Add(kBpfMove, 1, kProtocol, 0, 0);
  assembler.Add(kBpfToBigEndian, 1, 0, 0, 16);
  assembler.Add(kBpfAdd, 3, 1, 0, 0);
  for (int fold = 0; fold < 3; ++fold) {  // 34 bits, 19, 17, 16.
    assembler.Add(kBpfMove, 1, 3, 0, 0);
    assembler.Add(kBpfShiftRightNumber, 1, 0, 0, 16);
    assembler.Add(kBpfAndWordNumber, 3, 0, 0, 0xffff);
    assembler.Add(kBpfAdd, 3, 1, 0, 0);
  }
  return assembler.Jump(kBpfJumpIfSame, 3, 4, 0);
}

// A tunnel by UDP, whose frames may lack something inside; r3 is the length of IP.
void JumpIfTunnel(BpfAssembler& assembler, std::vector<std::size_t>& others) {
  const auto leave_if = [&](std::uint8_t condition, unsigned a, unsigned b, std::int32_t number) {
    others.push_back(assembler.Jump(condition, a, b, number));
  };
  assembler.Add(kBpfLoadWord, 2, kData, kPayload, 0);
  assembler.Add(kBpfToBigEndian, 2, 0, 0, 32);
  for (const UdpTunnelMark& mark : kUdpTunnelMarks) {
    assembler.Add(kBpfMove, 1, 2, 0, 0);
    assembler.Add(kBpfAndWordNumber, 1, 0, 0, static_cast<std::int32_t>(mark.mask));
    assembler.Add(kBpfXorWordNumber, 1, 0, 0, static_cast<std::int32_t>(mark.value));
    leave_if(kBpfJumpIfNumber, 1, 0, 0);
  }
  // Plain IP, by its version and length.
  assembler.Add(kBpfMove, 1, 2, 0, 0);
  assembler.Add(kBpfShiftRightNumber, 1, 0, 0, 28);
  const std::size_t not4 = assembler.Jump(kBpfJumpUnlessNumber, 1, 0, 4);
  assembler.Add(kBpfAndWordNumber, 2, 0, 0, 0xffff);
  assembler.Add(kBpfAddNumber, 2, 0, 0, kPayload - kShapeL3Offset);
  leave_if(kBpfJumpIfSame, 2, 3, 0);
  assembler.Land(not4);
  const std::size_t not6 = assembler.Jump(kBpfJumpUnlessNumber, 1, 0, 6);
  assembler.Add(kBpfLoadHalf, 2, kData, kPayload + 4, 0);
  assembler.Add(kBpfToBigEndian, 2, 0, 0, 16);
  assembler.Add(kBpfAddNumber, 2, 0, 0,
                kPayload - kShapeL3Offset + static_cast<std::int32_t>(sizeof(Ipv6Header)));
  leave_if(kBpfJumpIfSame, 2, 3, 0);
  assembler.Land(not6);
}

}  // namespace

// ------------------------------------------------------------------------------------- the maps

XdpFlows::XdpFlows(const HeaderMask& mask) : mask_(mask), processors_(CountProcessors()) {
  for (Entry entry = kMaxEntries; entry-- > 0;) free_.push_back(entry);
}

Result<std::unique_ptr<XdpFlows>> XdpFlows::Make(const HeaderMask& mask) {
  std::unique_ptr<XdpFlows> flows(new XdpFlows(mask));
  if (Status status = flows->MakeMaps(); !status) return status.error();
  return flows;
}

Status XdpFlows::MakeMaps() {
  const auto key_size = static_cast<std::uint32_t>(2 * mask_.pairs() * sizeof(std::uint64_t));
  entries_ = MakeMap(BPF_MAP_TYPE_HASH, key_size, sizeof(Value), kMaxEntries);
  targets_ = MakeMap(BPF_MAP_TYPE_DEVMAP, sizeof(std::uint32_t), sizeof(int), kMaxTargets);
  counts_ = MakeMap(BPF_MAP_TYPE_ARRAY, sizeof(std::uint32_t), sizeof(Line),
                    static_cast<std::uint32_t>(lines()), BPF_F_MMAPABLE);
  inner_ = MakeMap(BPF_MAP_TYPE_ARRAY, sizeof(std::uint32_t), sizeof(std::uint32_t), 1);
  if (inner_ >= 0) {
    outer_ = MakeMap(BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(std::uint32_t), sizeof(std::uint32_t), 1, 0,
                     inner_);
  }
  if (entries_ < 0 || targets_ < 0 || counts_ < 0 || outer_ < 0) {
    return BpfError("cannot make the maps of offloaded flows");
  }
  void* memory = mmap(nullptr, bytes_of_lines(), PROT_READ | PROT_WRITE, MAP_SHARED, counts_, 0);
  if (memory == MAP_FAILED) return SystemError(errno, "mmap", "cannot map the counters of flows");
  lines_ = static_cast<Line*>(memory);
  return {};
}

std::size_t XdpFlows::bytes_of_lines() const {
  return (lines() * sizeof(Line) + kPage - 1) / kPage * kPage;
}

XdpFlows::~XdpFlows() {
  if (lines_ != nullptr) munmap(lines_, bytes_of_lines());
  for (const int fd : {entries_, targets_, counts_, outer_, inner_}) {
    if (fd >= 0) close(fd);
  }
}

std::optional<std::uint32_t> XdpFlows::PlaceOf(int ifindex) {
  if (ifindex == 0) return kDrop;
  Way& way = ways_[ifindex];
  if (way.entries == 0) {
    std::array<bool, kMaxTargets> taken{};
    for (const auto& [other, known] : ways_) {
      if (known.entries > 0) taken[known.place] = true;
    }
    const auto place = std::find(taken.begin(), taken.end(), false);
    way.place = static_cast<std::uint32_t>(place - taken.begin());
    if (place == taken.end() || !Update(targets_, &way.place, &ifindex)) {
      ways_.erase(ifindex);
      return std::nullopt;
    }
  }
  ++way.entries;
  return way.place;
}

void XdpFlows::LeavePlace(int ifindex) {
  if (ifindex == 0) return;
  Way& way = ways_.at(ifindex);
  if (--way.entries > 0) return;
  Delete(targets_, &way.place);
  ways_.erase(ifindex);
}

std::optional<XdpFlows::Entry> XdpFlows::Add(const HeaderKey& key, const Target& target) {
  if (free_.empty()) return std::nullopt;
  const std::optional<std::uint32_t> place = PlaceOf(target.ifindex);
  if (!place) return std::nullopt;
  const Entry entry = free_.back();
  // What the last pair has no word for is zero, as in the program.
  const Value value{*place, target.ifindex == 0 ? UINT32_MAX : target.max_frame, entry, 0};
  if (!Update(entries_, key.data(), &value)) {
    LeavePlace(target.ifindex);
    return std::nullopt;
  }
  free_.pop_back();
  known_[entry] = {key, target.ifindex};
  return entry;
}

// The target stays until the programs are out, so that none finds another one in its place.
void XdpFlows::Remove(Entry entry) { Delete(entries_, known_[entry].key.data()); }

void XdpFlows::Free(Entry entry) {
  LeavePlace(known_[entry].ifindex);
  for (std::uint32_t i = 0; i < processors_; ++i) lines_[i * kMaxEntries + entry] = {};
  free_.push_back(entry);
}

// A change of a map of maps returns when no program can still be using the old one.
void XdpFlows::AwaitPrograms() const {
  const std::uint32_t place = 0;
  while (!Update(outer_, &place, &inner_)) {
    // Out of memory for a moment: a few bytes come back. Anything else is a mistake of ours.
    POLLUX_CHECK(errno == ENOMEM || errno == EAGAIN || errno == EINTR);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

XdpFlows::Counts XdpFlows::CountsOf(Entry entry) const {
  Counts counts;
  for (std::uint32_t i = 0; i < processors_; ++i) {
    Line& line = lines_[i * kMaxEntries + entry];
    const auto read = [](std::uint64_t& number) {
      return std::atomic_ref(number).load(std::memory_order_relaxed);
    };
    counts.packets += read(line.packets);
    counts.bytes += read(line.bytes);
    counts.tcp_flags |= static_cast<std::uint16_t>(read(line.tcp_flags));
  }
  return counts;
}

// ----------------------------------------------------------------------------------- the program

// As ShapeOf(), and that the frame is whole and its checksum no partial one. Leaves the registers
// as named above.
void XdpFlows::AssembleShape(BpfAssembler& assembler, std::vector<std::size_t>& others) const {
  const auto leave_if = [&](std::uint8_t condition, unsigned a, unsigned b, std::int32_t number) {
    others.push_back(assembler.Jump(condition, a, b, number));
  };
  assembler.Add(kBpfMove, 1, kContext, 0, 0);
  assembler.Call(kGetLength);
  assembler.Add(kBpfMove, kLength, 0, 0, 0);
  assembler.Add(kBpfLoadWord, kData, kContext, offsetof(xdp_md, data), 0);
  assembler.Add(kBpfLoadWord, 2, kContext, offsetof(xdp_md, data_end), 0);
  // All of it in the first buffer; the verifier wants to hear of a limit.
  leave_if(kBpfJumpIfAboveNumber, kLength, 0, 0x7fff);
  assembler.Add(kBpfMove, 1, kData, 0, 0);
  assembler.Add(kBpfAdd, 1, kLength, 0, 0);
  leave_if(kBpfJumpIfAbove, 1, 2, 0);
  assembler.Add(kBpfMove, 1, kData, 0, 0);
  assembler.Add(kBpfAddNumber, 1, 0, 0, kMinFrame);
  leave_if(kBpfJumpIfAbove, 1, 2, 0);

  // EtherType 0x0800; version 4, five words of header; neither "more fragments" nor an offset.
  assembler.Add(kBpfLoadWord, 1, kData, 12, 0);
  assembler.Add(kBpfAndWordNumber, 1, 0, 0, static_cast<std::int32_t>(ToBe32(0xffffff00)));
  leave_if(kBpfJumpUnlessNumber, 1, 0, static_cast<std::int32_t>(ToBe32(0x08004500)));
  assembler.Add(kBpfLoadHalf, 1, kData, 20, 0);
  assembler.Add(kBpfAndWordNumber, 1, 0, 0, ToBe16(0x3fff));
  leave_if(kBpfJumpUnlessNumber, 1, 0, 0);
  assembler.Add(kBpfLoadHalf, 3, kData, 16, 0);
  assembler.Add(kBpfToBigEndian, 3, 0, 0, 16);
  assembler.Add(kBpfMove, 1, 3, 0, 0);
  assembler.Add(kBpfAddNumber, 1, 0, 0, kShapeL3Offset);
  leave_if(kBpfJumpIfAbove, 1, kLength, 0);

  assembler.Add(kBpfLoadByte, kProtocol, kData, 23, 0);
  const std::size_t is_udp = assembler.Jump(kBpfJumpIfNumber, kProtocol, 0, kProtoUdp);
  leave_if(kBpfJumpUnlessNumber, kProtocol, 0, kProtoTcp);
  assembler.Add(kBpfLoadByte, 1, kData, 46, 0);
  assembler.Add(kBpfShiftRightNumber, 1, 0, 0, 4);
  assembler.Add(kBpfShiftLeftNumber, 1, 0, 0, 2);
  leave_if(kBpfJumpIfBelowNumber, 1, 0, sizeof(TcpHeader));
  assembler.Add(kBpfAddNumber, 1, 0, 0, 20);
  leave_if(kBpfJumpIfAbove, 1, 3, 0);
  assembler.Add(kBpfLoadHalf, 4, kData, 50, 0);
  const std::size_t was_tcp = assembler.Jump();
  assembler.Land(is_udp);
  leave_if(kBpfJumpIfBelowNumber, 3, 0, 20 + sizeof(UdpHeader));
  JumpIfTunnel(assembler, others);
  assembler.Add(kBpfLoadHalf, 4, kData, 40, 0);
  assembler.Land(was_tcp);
  assembler.Add(kBpfSubtractNumber, 3, 0, 0, 20);
  others.push_back(JumpIfPartial(assembler));
}

// As HeaderMask::MakeKey(), on the stack.
void XdpFlows::AssembleKey(BpfAssembler& assembler) const {
  const HeaderKey& tcp = mask_.mask(HeaderShape::kTcp);
  const HeaderKey& udp = mask_.mask(HeaderShape::kUdp);
  for (std::size_t i = 0; i < 2 * mask_.pairs(); ++i) {
    const int at = kKeyAt + static_cast<int>(i * sizeof(std::uint64_t));
    if (tcp[i] == 0) {
      assembler.Add(kBpfStoreDoubleNumber, kBpfStack, 0, at, 0);
      continue;
    }
    assembler.Add(kBpfLoadDouble, 1, kData, static_cast<int>(mask_.place(i)), 0);
    assembler.LoadNumber(2, tcp[i]);
    if (tcp[i] != udp[i]) {
      const std::size_t is_tcp = assembler.Jump(kBpfJumpIfNumber, kProtocol, 0, kProtoTcp);
      assembler.LoadNumber(2, udp[i]);
      assembler.Land(is_tcp);
    }
    assembler.Add(kBpfAnd, 1, 2, 0, 0);
    assembler.Add(kBpfStoreDouble, kBpfStack, 1, at, 0);
  }
}

void XdpFlows::Assemble(BpfAssembler& assembler) const {
  std::vector<std::size_t> others;
  AssembleShape(assembler, others);
  AssembleKey(assembler);

  assembler.LoadMap(1, entries_);
  assembler.Add(kBpfMove, 2, kBpfStack, 0, 0);
  assembler.Add(kBpfAddNumber, 2, 0, 0, kKeyAt);
  assembler.Call(BPF_FUNC_map_lookup_elem);
  others.push_back(assembler.Jump(kBpfJumpIfNumber, 0, 0, 0));
  assembler.Add(kBpfLoadWord, 1, 0, offsetof(Value, max_frame), 0);
  others.push_back(assembler.Jump(kBpfJumpIfAbove, kLength, 1, 0));
  assembler.Add(kBpfStoreDouble, kBpfStack, 0, kValueAt, 0);

  // The line of this entry on this processor.
  assembler.Call(kGetProcessor);
  assembler.Add(kBpfMultiplyNumber, 0, 0, 0, kMaxEntries);
  assembler.Add(kBpfLoadDouble, 1, kBpfStack, kValueAt, 0);
  assembler.Add(kBpfLoadWord, 1, 1, offsetof(Value, entry), 0);
  assembler.Add(kBpfAdd, 0, 1, 0, 0);
  assembler.Add(kBpfStoreWord, kBpfStack, 0, kIndexAt, 0);
  assembler.LoadMap(1, counts_);
  assembler.Add(kBpfMove, 2, kBpfStack, 0, 0);
  assembler.Add(kBpfAddNumber, 2, 0, 0, kIndexAt);
  assembler.Call(BPF_FUNC_map_lookup_elem);
  others.push_back(assembler.Jump(kBpfJumpIfNumber, 0, 0, 0));
  assembler.Add(kBpfStoreDouble, kBpfStack, 0, kLineAt, 0);

  // The verdict, in r0.
  assembler.Add(kBpfLoadDouble, 1, kBpfStack, kValueAt, 0);
  assembler.Add(kBpfLoadWord, 2, 1, offsetof(Value, place), 0);
  assembler.Add(kBpfMoveNumber, 0, 0, 0, XDP_DROP);
  assembler.Add(BPF_ALU | BPF_MOV | BPF_K, 3, 0, 0, -1);  // kDrop.
  const std::size_t drop = assembler.Jump(kBpfJumpIfSame, 2, 3, 0);
  assembler.LoadMap(1, targets_);
  assembler.Add(kBpfMoveNumber, 3, 0, 0, XDP_PASS);  // If there is nothing at the place.
  assembler.Call(BPF_FUNC_redirect_map);
  others.push_back(assembler.Jump(kBpfJumpUnlessNumber, 0, 0, XDP_REDIRECT));
  assembler.Land(drop);

  assembler.Add(kBpfLoadDouble, 1, kBpfStack, kLineAt, 0);
  assembler.Add(kBpfLoadDouble, 2, 1, offsetof(Line, packets), 0);
  assembler.Add(kBpfAddNumber, 2, 0, 0, 1);
  assembler.Add(kBpfStoreDouble, 1, 2, offsetof(Line, packets), 0);
  assembler.Add(kBpfLoadDouble, 2, 1, offsetof(Line, bytes), 0);
  assembler.Add(kBpfAdd, 2, kLength, 0, 0);
  assembler.Add(kBpfStoreDouble, 1, 2, offsetof(Line, bytes), 0);
  const std::size_t no_flags = assembler.Jump(kBpfJumpUnlessNumber, kProtocol, 0, kProtoTcp);
  assembler.Add(kBpfLoadHalf, 2, kData, 46, 0);
  assembler.Add(kBpfToBigEndian, 2, 0, 0, 16);
  assembler.Add(kBpfAndWordNumber, 2, 0, 0, TcpHeader::kFlagsMask);
  assembler.Add(kBpfLoadDouble, 3, 1, offsetof(Line, tcp_flags), 0);
  assembler.Add(kBpfOr, 3, 2, 0, 0);
  assembler.Add(kBpfStoreDouble, 1, 3, offsetof(Line, tcp_flags), 0);
  assembler.Land(no_flags);
  assembler.Exit();
  assembler.Land(others);
}

}  // namespace pollux
