#include "base/id.h"

#include <sys/random.h>

#include <array>
#include <cstdlib>
#include <iterator>
#include <string_view>

namespace fmaserver {

std::string RandomId() {
  // No '-': an id that begins with one reads as an option on a command line.
  constexpr std::string_view kAlphanumerics =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::array<unsigned char, kRandomIdChars> random{};
  // getrandom gives up to 256 bytes at once, and fails only where the kernel has no random numbers.
  if (getrandom(random.data(), random.size(), 0) != std::ssize(random)) std::abort();
  std::string id;
  for (const unsigned char byte : random) id += kAlphanumerics[byte % kAlphanumerics.size()];
  return id;
}

}  // namespace fmaserver
