// What a kernel says of its own types (BTF), as far as programs need it: under which number one of
// its functions can be called.
#pragma once

#include <cstdint>
#include <string_view>

namespace pollux {

// The number of a function of the kernel's; 0: there is none of that name, or the kernel does not
// tell.
std::uint32_t FindKernelFunction(std::string_view name);

}  // namespace pollux
