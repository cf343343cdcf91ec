// BpfAssembler: BPF programs written as instructions, with no compiler at run time.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "kernel/bpf/bpf.h"

namespace pollux {

// Codes of instructions, by what they do. Those without "Number" take two registers. (BPF_K and
// BPF_ADD are 0.)
inline constexpr std::uint8_t kBpfLoadWord = BPF_LDX | BPF_MEM | BPF_W;
inline constexpr std::uint8_t kBpfLoadHalf = BPF_LDX | BPF_MEM | BPF_H;
inline constexpr std::uint8_t kBpfLoadByte = BPF_LDX | BPF_MEM | BPF_B;
inline constexpr std::uint8_t kBpfLoadDouble = BPF_LDX | BPF_MEM | BPF_DW;
inline constexpr std::uint8_t kBpfStoreWord = BPF_STX | BPF_MEM | BPF_W;
inline constexpr std::uint8_t kBpfStoreHalf = BPF_STX | BPF_MEM | BPF_H;
inline constexpr std::uint8_t kBpfStoreDouble = BPF_STX | BPF_MEM | BPF_DW;
inline constexpr std::uint8_t kBpfStoreWordNumber = BPF_ST | BPF_MEM | BPF_W;
inline constexpr std::uint8_t kBpfStoreDoubleNumber = BPF_ST | BPF_MEM | BPF_DW;
inline constexpr std::uint8_t kBpfMove = BPF_ALU64 | BPF_MOV | BPF_X;
inline constexpr std::uint8_t kBpfMoveNumber = BPF_ALU64 | BPF_MOV | BPF_K;
inline constexpr std::uint8_t kBpfAdd = BPF_ALU64 | BPF_ADD | BPF_X;
inline constexpr std::uint8_t kBpfAddNumber = BPF_ALU64 | BPF_ADD;
inline constexpr std::uint8_t kBpfSubtractNumber = BPF_ALU64 | BPF_SUB;
inline constexpr std::uint8_t kBpfMultiplyNumber = BPF_ALU64 | BPF_MUL;
inline constexpr std::uint8_t kBpfAnd = BPF_ALU64 | BPF_AND | BPF_X;
inline constexpr std::uint8_t kBpfAndWordNumber =
    BPF_ALU | BPF_AND;  // Of the low half; the other is 0.
inline constexpr std::uint8_t kBpfXorWordNumber = BPF_ALU | BPF_XOR;
inline constexpr std::uint8_t kBpfOr = BPF_ALU64 | BPF_OR | BPF_X;
inline constexpr std::uint8_t kBpfShiftLeftNumber = BPF_ALU64 | BPF_LSH;
inline constexpr std::uint8_t kBpfShiftRightNumber = BPF_ALU64 | BPF_RSH;
inline constexpr std::uint8_t kBpfToBigEndian = BPF_ALU | BPF_END | BPF_TO_BE;
inline constexpr std::uint8_t kBpfJump = BPF_JMP | BPF_JA;
inline constexpr std::uint8_t kBpfJumpIfAbove = BPF_JMP | BPF_JGT | BPF_X;
inline constexpr std::uint8_t kBpfJumpIfAboveNumber = BPF_JMP | BPF_JGT;
inline constexpr std::uint8_t kBpfJumpIfBelowNumber = BPF_JMP | BPF_JLT;
inline constexpr std::uint8_t kBpfJumpIfSame = BPF_JMP | BPF_JEQ | BPF_X;
inline constexpr std::uint8_t kBpfJumpIfNumber = BPF_JMP | BPF_JEQ;
inline constexpr std::uint8_t kBpfJumpUnlessNumber = BPF_JMP | BPF_JNE | BPF_K;

// The register of the frame of the stack, which lies below it.
inline constexpr unsigned kBpfStack = 10;

class BpfAssembler {
 public:
  void Add(std::uint8_t code, unsigned to, unsigned from, int offset, std::int32_t number) {
    bpf_insn instruction{};
    instruction.code = code;
    instruction.dst_reg = to & 0xf;
    instruction.src_reg = from & 0xf;
    instruction.off = static_cast<std::int16_t>(offset);
    instruction.imm = number;
    code_.push_back(instruction);
  }
  void Call(int function) { Add(BPF_JMP | BPF_CALL, 0, 0, 0, function); }
  // A function of the kernel's own, by its number (btf.h).
  void CallKernel(std::uint32_t function) {
    Add(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, static_cast<std::int32_t>(function));
  }
  void LoadMap(unsigned to, int map) {
    Add(BPF_LD | BPF_IMM | BPF_DW, to, BPF_PSEUDO_MAP_FD, 0, map);
    Add(0, 0, 0, 0, 0);
  }
  void LoadNumber(unsigned to, std::uint64_t number) {
    Add(BPF_LD | BPF_IMM | BPF_DW, to, 0, 0, static_cast<std::int32_t>(number));
    Add(0, 0, 0, 0, static_cast<std::int32_t>(number >> 32));
  }
  void Exit() { Add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }
  void Return(int verdict) {
    Add(kBpfMoveNumber, 0, 0, 0, verdict);
    Exit();
  }
  // A jump, whose target is named later.
  std::size_t Jump(std::uint8_t condition = kBpfJump, unsigned a = 0, unsigned b = 0,
                   std::int32_t number = 0) {
    Add(condition, a, b, 0, number);
    return code_.size() - 1;
  }
  void Land(std::size_t jump) {
    code_[jump].off = static_cast<std::int16_t>(code_.size() - jump - 1);
  }
  void Land(std::span<const std::size_t> jumps) {
    for (const std::size_t jump : jumps) Land(jump);
  }
  void Land(std::initializer_list<std::size_t> jumps) {
    for (const std::size_t jump : jumps) Land(jump);
  }
  std::span<const bpf_insn> code() const { return code_; }

 private:
  std::vector<bpf_insn> code_;
};

}  // namespace pollux
