// For compilers that want to know what `import 'headwater/bell.css'` brings: nothing but style.
export {}
