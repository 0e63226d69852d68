// The page that a browser gets: index.html, as it is. Knows nothing of how it is served.
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::page {

/// The bytes of index.html, UTF-8. They live as long as the program.
std::string_view Page();

/// What the header Content-Security-Policy must say so that a browser runs the one script and uses
/// the one style sheet of `page`, each known by its SHA-256, and nothing else: nothing is loaded
/// from elsewhere, calls go to the page's own server alone, and no text can become markup.
std::string ContentSecurityPolicy(std::string_view page);

}  // namespace fmaserver::page
