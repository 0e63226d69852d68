#include "base/id.h"

#include <sys/random.h>

#include <cstdlib>
#include <iterator>
#include <string_view>

namespace fmaserver {

std::string RandomId() {
  // No '-': an id that begins with one reads as an option on a command line.
  constexpr std::string_view kAlphanumerics =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string id = RandomBytes(kRandomIdChars);
  for (char& byte : id) {
    byte = kAlphanumerics[static_cast<unsigned char>(byte) % kAlphanumerics.size()];
  }
  return id;
}

std::string RandomBytes(size_t count) {
  std::string random(count, '\0');
  // getrandom gives up to 256 bytes at once, and fails only where the kernel has no random numbers.
  if (getrandom(random.data(), random.size(), 0) != std::ssize(random)) std::abort();
  return random;
}

}  // namespace fmaserver
