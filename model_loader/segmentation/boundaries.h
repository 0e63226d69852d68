// Where a text can be divided into stretches that are cut into pieces independently.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fmaserver::model {

/// What pieces are made of: no piece begins or ends inside a unit.
enum class Unit : uint8_t { kByte, kCharacter };

/// Every byte that does not continue a character begins one, in damaged text too.
constexpr bool BeginsCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

/// Knows the neighbours that stand side by side inside some piece. Between two units that do so in
/// no piece, every segmentation has a border, so what lies on either side can be segmented by
/// itself, with the same result and with memory for the longest stretch only: a word or two of
/// ordinary text.
class Boundaries {
 public:
  explicit Boundaries(Unit unit) : unit_(unit) {}

  /// No border lies inside `piece`.
  void Join(std::string_view piece);

  /// No border touches `byte`.
  void JoinEverywhere(char byte);

  /// The bytes before the first boundary in `text`, which no piece can cross; at least 1, unless
  /// `text` is empty.
  size_t FirstStretch(std::string_view text) const;

 private:
  /// Units are told apart by the byte that touches the border. So there may be fewer places than
  /// could be, and never a wrong one.
  static size_t Index(char last, char first);

  Unit unit_;
  std::bitset<256 * 256> joined_;
};

}  // namespace fmaserver::model
