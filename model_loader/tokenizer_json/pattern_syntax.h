// Regular expressions as tokenizer.json writes them, in the words of PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver::model {

/// The original library matches with Oniguruma and its Ruby syntax, where some of what PCRE2 knows
/// too means something else. This is the part of the syntax that can be said exactly in both:
///
///     characters, .  ^  $  |  [...] with ranges, (...)  (?:...)  (?i:...)  (?>...)
///     (?=...)  (?!...)  (?<=...)  (?<!...)
///     *  +  ?  alone or followed by ? or +,  {n}  {n,}  {n,m}
///     \s \S \d \D \r \n \t \f \v \p{...} \P{...} \p{^...} \xHH \x{H...} \uHHHH, and \ before ASCII
///     punctuation
///
/// INVALID_ARGUMENT names `where`, the place in `pattern` (valid UTF-8) and what is allowed.
absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern, std::string_view where);

}  // namespace fmaserver::model
