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
  // Up to 256 bytes come whole or, only where the kernel has no random numbers at all, not.
  if (getrandom(random.data(), random.size(), 0) != std::ssize(random)) std::abort();
  std::string id;
  for (const unsigned char byte : random) id += kAlphanumerics[byte % kAlphanumerics.size()];
  return id;
}

}  // namespace fmaserver
