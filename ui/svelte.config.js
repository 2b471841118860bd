export default {
  compilerOptions: {
    runes: true,
    // A table whose rows are laid out as grids loses its roles in some browsers unless they are written out.
    warningFilter: (warning) => warning.code !== "a11y_no_redundant_roles",
  },
};
