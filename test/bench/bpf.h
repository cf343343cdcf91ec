// Small BPF programs for the benchmarks on veth, by the system call itself. Everything is held by
// descriptors: it goes with the process.
#pragma once

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "bench.h"

namespace pollux::bench {

// Instructions.
inline constexpr bpf_insn Move(std::uint8_t to, std::uint8_t from) {
  return {BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0};
}
inline constexpr bpf_insn MoveNumber(std::uint8_t to, std::int32_t number) {
  return {BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, number};
}
inline constexpr bpf_insn AddNumber(std::uint8_t to, std::int32_t number) {
  return {BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, number};
}
inline constexpr bpf_insn AddTo64(std::uint8_t base, std::int16_t offset, std::uint8_t from) {
  return {BPF_STX | BPF_ATOMIC | BPF_DW, base, from, offset, BPF_ADD};
}
inline constexpr bpf_insn Subtract(std::uint8_t from, std::uint8_t what) {
  return {BPF_ALU64 | BPF_SUB | BPF_X, from, what, 0, 0};
}
inline constexpr bpf_insn Load64(std::uint8_t to, std::uint8_t base, std::int16_t offset) {
  return {BPF_LDX | BPF_MEM | BPF_DW, to, base, offset, 0};
}
inline constexpr bpf_insn Store64(std::uint8_t base, std::int16_t offset, std::uint8_t from) {
  return {BPF_STX | BPF_MEM | BPF_DW, base, from, offset, 0};
}
inline constexpr bpf_insn Load32(std::uint8_t to, std::uint8_t base, std::int16_t offset) {
  return {BPF_LDX | BPF_MEM | BPF_W, to, base, offset, 0};
}
inline constexpr bpf_insn Load16(std::uint8_t to, std::uint8_t base, std::int16_t offset) {
  return {BPF_LDX | BPF_MEM | BPF_H, to, base, offset, 0};
}
inline constexpr bpf_insn JumpIfNot(std::uint8_t from, std::int32_t number, std::int16_t over) {
  return {BPF_JMP | BPF_JNE | BPF_K, from, 0, over, number};
}
inline constexpr bpf_insn JumpIf(std::uint8_t from, std::int32_t number, std::int16_t over) {
  return {BPF_JMP | BPF_JEQ | BPF_K, from, 0, over, number};
}
inline constexpr bpf_insn JumpIfLess(std::uint8_t from, std::uint8_t than, std::int16_t over) {
  return {BPF_JMP | BPF_JLT | BPF_X, from, than, over, 0};
}
inline constexpr bpf_insn Call(std::int32_t function) {
  return {BPF_JMP | BPF_CALL, 0, 0, 0, function};
}
inline constexpr bpf_insn Exit() { return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}; }

inline int Bpf(int command, void* attributes, std::size_t size) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, size));
}

// A descriptor; ends the program if the kernel does not take it.
inline int LoadProgram(bpf_prog_type type, std::span<const bpf_insn> instructions) {
  static char log[16'384];
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = type;
  attributes.insn_cnt = static_cast<std::uint32_t>(instructions.size());
  attributes.insns = reinterpret_cast<std::uintptr_t>(instructions.data());
  attributes.license = reinterpret_cast<std::uintptr_t>("Dual MIT/GPL");
  attributes.log_buf = reinterpret_cast<std::uintptr_t>(log);
  attributes.log_size = sizeof log;
  attributes.log_level = 1;
  const int fd = Bpf(BPF_PROG_LOAD, &attributes, sizeof attributes);
  if (fd < 0) Fail(std::string("cannot load a BPF program: ") + std::strerror(errno) + "\n" + log);
  return fd;
}

}  // namespace pollux::bench
