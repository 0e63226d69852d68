// Options whose values are numbers: decimal, in range and finite, or refused.
//
// CLI11 by itself reads 010 as 8, -1 as 2^64 - 1 where an option has no sign, and takes NaN for any
// range.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace fmaserver {

/// These make `text` the number that is meant, in plain digits; or say why it is none.
std::string ReadSigned(std::string& text);
std::string ReadUnsigned(std::string& text);
std::string ReadReal(std::string& text);
std::string ReadBytes(std::string& text);  ///< "64M": 1024 based, K to E

/// What one value of an option is: that of an optional or of a list is inside.
template <typename T>
struct NumberOf {
  using Type = T;
};
template <typename T>
struct NumberOf<std::optional<T>> {
  using Type = T;
};
template <typename T>
struct NumberOf<std::vector<T>> {
  using Type = T;
};

/// app.add_option() for a number, an optional one, or a list. What does not fit its type is refused
/// too; ranges are CLI::Range's.
template <typename T>
CLI::Option* AddNumber(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  using Number = typename NumberOf<T>::Type;
  static_assert(std::is_arithmetic_v<Number>);
  constexpr auto kRead = std::is_floating_point_v<Number> ? ReadReal
                         : std::is_signed_v<Number>       ? ReadSigned
                                                          : ReadUnsigned;
  return app.add_option(name, value, help)->transform(CLI::Validator(kRead, std::string()));
}

/// The same for a number of bytes, which may have a unit.
template <typename T>
CLI::Option* AddBytes(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  static_assert(std::is_integral_v<T>);
  return app.add_option(name, value, help)
      ->transform(CLI::Validator(ReadBytes, std::string()))
      ->type_name("BYTES");
}

}  // namespace fmaserver
