#include "kernel/bpf/btf.h"

#include <fcntl.h>
#include <linux/btf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <vector>

namespace pollux {
namespace {

std::vector<char> ReadFile(const char* path) {
  std::vector<char> bytes;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return bytes;
  struct stat status {};
  if (fstat(fd, &status) == 0 && status.st_size > 0) {
    bytes.resize(static_cast<std::size_t>(status.st_size));
    std::size_t have = 0;
    while (have < bytes.size()) {
      const ssize_t n = read(fd, bytes.data() + have, bytes.size() - have);
      if (n <= 0) break;
      have += static_cast<std::size_t>(n);
    }
    bytes.resize(have);
  }
  close(fd);
  return bytes;
}

// Bytes behind the fixed part of a type; SIZE_MAX: a kind we do not know.
std::size_t TailOf(const btf_type& type) {
  const std::size_t n = BTF_INFO_VLEN(type.info);
  switch (BTF_INFO_KIND(type.info)) {
    case 2:   // PTR
    case 7:   // FWD
    case 8:   // TYPEDEF
    case 9:   // VOLATILE
    case 10:  // CONST
    case 11:  // RESTRICT
    case 12:  // FUNC
    case 16:  // FLOAT
    case 18:  // TYPE_TAG
      return 0;
    case 1:   // INT
    case 14:  // VAR
    case 17:  // DECL_TAG
      return 4;
    case 3:  // ARRAY
      return 12;
    case 6:   // ENUM
    case 13:  // FUNC_PROTO
      return 8 * n;
    case 4:   // STRUCT
    case 5:   // UNION
    case 15:  // DATASEC
    case 19:  // ENUM64
      return 12 * n;
    default:
      return SIZE_MAX;
  }
}

}  // namespace

std::uint32_t FindKernelFunction(std::string_view name) {
  const std::vector<char> btf = ReadFile("/sys/kernel/btf/vmlinux");
  btf_header header;
  if (btf.size() < sizeof header) return 0;
  std::memcpy(&header, btf.data(), sizeof header);
  const std::size_t types = std::size_t{header.hdr_len} + header.type_off;
  const std::size_t texts = std::size_t{header.hdr_len} + header.str_off;
  if (header.magic != BTF_MAGIC || types + header.type_len > btf.size() ||
      texts + header.str_len > btf.size()) {
    return 0;
  }
  constexpr std::uint32_t kFunction = 12;
  std::size_t at = types;
  for (std::uint32_t id = 1; at + sizeof(btf_type) <= types + header.type_len; ++id) {
    btf_type type;
    std::memcpy(&type, btf.data() + at, sizeof type);
    if (BTF_INFO_KIND(type.info) == kFunction && type.name_off < header.str_len) {
      const char* text = btf.data() + texts + type.name_off;
      if (std::string_view(text, strnlen(text, header.str_len - type.name_off)) == name) return id;
    }
    const std::size_t tail = TailOf(type);
    if (tail == SIZE_MAX) return 0;
    at += sizeof type + tail;
  }
  return 0;
}

}  // namespace pollux
